"""OpenAI's routes: conversations, items and responses, as its clients send and read them."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import pytest

from tests.support.clients import Answer, Api, assert_problem

CONVERSATIONS, RESPONSES = "/v1/conversations", "/v1/responses"


@pytest.fixture
def openai(api: Api) -> Api:
    """A client of a project of its own."""
    api.headers["OpenAI-Project"] = str(uuid4())
    return api


@pytest.fixture
def conversation(openai: Api) -> str:
    items = [{"type": "message", "role": "user", "content": "Hello 👋"}]
    return str(openai.post(CONVERSATIONS, {"items": items}).json["id"])


def texts(api: Api, conversation: str) -> list[tuple[str, str]]:
    items = api.get(f"{CONVERSATIONS}/{conversation}/items", order="asc").json["data"]
    return [(item["role"], item["content"][0]["text"]) for item in items]


def events_of(answer: Answer) -> list[dict[str, Any]]:
    blocks = answer.body.decode().split("\n\n")
    return [json.loads(block.partition("\ndata: ")[2]) for block in blocks if "data: " in block]


def test_a_conversation_is_made_changed_listed_and_deleted(openai: Api):
    body = {"metadata": {"topic": "demo"}, "title": "Mine", "items": None}
    made = openai.post(CONVERSATIONS, body).json
    assert list(made) == [
        *("id", "object", "created_at", "metadata", "title", "updated_at", "is_archived"),
    ]
    path = f"{CONVERSATIONS}/{made['id']}"
    assert openai.get(path).json == made
    changed = openai.post(path, {"metadata": {"topic": "other"}}).json
    assert (changed["metadata"], changed["title"]) == ({"topic": "other"}, "Mine")
    second = openai.post(CONVERSATIONS, {}).json
    listed = openai.get(CONVERSATIONS, limit=1).json
    assert [each["id"] for each in listed["data"]] == [second["id"]]
    assert (listed["object"], listed["has_more"]) == ("list", True)
    assert openai.get(CONVERSATIONS, after=listed["last_id"]).json["data"][0]["id"] == made["id"]
    assert openai.get(CONVERSATIONS, order="asc").json["first_id"] == made["id"]
    found = openai.get(CONVERSATIONS, **{"metadata[topic]": "other"}).json
    assert [each["id"] for each in found["data"]] == [made["id"]]
    deleted = openai.delete(path).json
    assert deleted == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    assert_problem(openai.get(path), 404, "conversation-not-found")


def test_items_of_any_type_are_given_back_as_they_are(openai: Api, conversation: str):
    path = f"{CONVERSATIONS}/{conversation}/items"
    unknown = {"type": "from_the_future", "b": [1.5, None, {"a": "ü"}], "a": {"z": 1, "y": []}}
    call = {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "noon"}
    added = openai.post(path, {"items": [unknown, call, output]}).json
    assert [item["id"].split("_")[0] for item in added["data"]] == ["item", "fc", "fco"]
    newest_first = openai.get(path, **{"include[]": "anything"}).json["data"]
    assert newest_first[:3] == added["data"][::-1]
    (shown, *_) = added["data"]
    assert openai.get(f"{path}/{shown['id']}").json == shown
    assert json.dumps({k: v for k, v in shown.items() if k != "id"}) == json.dumps(unknown)
    assert openai.delete(f"{path}/{shown['id']}").json["id"] == conversation
    assert_problem(openai.get(f"{path}/{shown['id']}"), 404, "message-not-found")


def test_a_response_is_stored_with_what_was_said(openai: Api, conversation: str):
    answer = openai.post(RESPONSES, {"conversation": conversation, "input": "How are you?"})
    response = answer.json
    (message,) = response["output"]
    assert (response["status"], message["content"][0]["text"]) == ("completed", "How are you?")
    assert response["conversation"] == {"id": conversation}
    assert response["id"].split("_")[1] == message["id"].split("_")[1]
    assert texts(openai, conversation) == [
        ("user", "Hello 👋"), ("user", "How are you?"), ("assistant", "How are you?"),
    ]  # fmt: skip


def test_events_tell_a_response(openai: Api, conversation: str):
    body = {"conversation": conversation, "input": "Good day", "stream": True}
    answer = openai.post(RESPONSES, body)
    assert answer.headers["content-type"] == "text/event-stream"
    events = events_of(answer)
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    text = "".join(event.get("delta", "") for event in events)
    final = events[-1]["response"]
    assert (text, final["output"][0]["content"][0]["text"]) == ("Good day", "Good day")
    assert texts(openai, conversation)[-1] == ("assistant", "Good day")


def test_one_goes_on_from_any_response(openai: Api, conversation: str):
    first = openai.post(RESPONSES, {"conversation": conversation, "input": "One"}).json
    openai.post(RESPONSES, {"conversation": conversation, "input": "Two"})
    other = openai.post(RESPONSES, {"previous_response_id": first["id"], "input": "Three"}).json
    assert other["conversation"] == {"id": conversation}
    said = [text for _, text in texts(openai, conversation)]
    assert said == ["Hello 👋", "One", "One", "Three", "Three"]


def test_an_answer_without_a_conversation_becomes_one_when_somebody_goes_on(openai: Api):
    first = openai.post(RESPONSES, {"input": "One"}).json
    assert first["conversation"] is None
    assert openai.get(CONVERSATIONS).json["data"] == []
    second = openai.post(RESPONSES, {"previous_response_id": first["id"], "input": "Two"}).json
    said = [text for _, text in texts(openai, second["conversation"]["id"])]
    assert said == ["One", "One", "Two", "Two"]
    private = openai.post(RESPONSES, {"input": "Forget it", "store": False}).json
    answer = openai.post(RESPONSES, {"previous_response_id": private["id"], "input": "Again"})
    assert (answer.status, answer.json["error"]["code"]) == (400, "previous_response_not_found")


@pytest.mark.parametrize("place", ["conversation", "nowhere"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_repeated_request_is_answered_again_and_stored_once(
    openai: Api, conversation: str, place: str, stream: bool
):
    body: dict[str, Any] = {"input": "Hello", "stream": stream}
    if place == "conversation":
        body["conversation"] = conversation
    first, second = (
        openai.post(RESPONSES, body, headers={"Idempotency-Key": str(conversation)})
        for _ in range(2)
    )
    assert second.headers["idempotent-replayed"] == "true"
    if stream:
        responses = [events_of(answer)[-1]["response"] for answer in (first, second)]
    else:
        responses = [answer.json for answer in (first, second)]
    assert responses[0] == responses[1]
    assert len(texts(openai, conversation)) == (3 if place == "conversation" else 1)


def test_errors_have_openais_shape(
    openai: Api, conversation: str, connect: Callable[[], AbstractContextManager[Api]]
):
    for body, param, code in (
        ({"items": [{"type": "message", "role": "robot", "content": ""}]}, "items[0].role", None),
        ({"itens": []}, "itens", "unknown_parameter"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"items": [{"role": "user"}]}, "items[0].content", "missing_required_parameter"),
    ):
        error = openai.post(CONVERSATIONS, body).json["error"]
        assert (error["param"], error["code"]) == (param, code or "invalid_value")
    assert openai.post(CONVERSATIONS, body=b"{").json["error"]["code"] is None
    both = {"conversation": conversation, "previous_response_id": conversation, "input": "x"}
    error = openai.post(RESPONSES, both).json["error"]
    assert error["code"] == "mutually_exclusive_parameters"
    answer = openai.post(RESPONSES, {"input": "x", "background": True})
    assert answer.json["error"]["code"] == "unsupported_parameter"
    assert_problem(openai.get(f"{CONVERSATIONS}/nonsense"), 404, "conversation-not-found")
    with connect() as stranger:
        stranger.headers["OpenAI-Project"] = "another"
        answer = stranger.get(f"{CONVERSATIONS}/{conversation}")
        assert_problem(answer, 404, "conversation-not-found")


def test_the_key_may_be_a_bearer_token(openai: Api, conversation: str):
    key = openai.headers.pop("X-API-Key")
    for scheme in ("Bearer", "bearer"):
        headers = {"Authorization": f"{scheme} {key}"}
        assert openai.get(f"{CONVERSATIONS}/{conversation}", headers=headers).status == 200
