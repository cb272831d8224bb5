"""The AI SDK's routes: a chat by the client's own name, and its answers as parts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.support.clients import Answer, Api, assert_problem
from tests.support.ui_messages import parts_of, text_in, ui

CHAT = "/api/chat"


@pytest.fixture
def name() -> str:
    return f"a chat/{uuid4()} 👋"


@pytest.fixture
def path(name: str) -> str:
    return f"{CHAT}/{quote(name, safe='')}"


@pytest.fixture
def submit(api: Api, name: str, project: str) -> Callable[..., Answer]:
    def send(*history: dict[str, Any], **fields: Any) -> Answer:
        return api.post(CHAT, {"id": name, "messages": history, "project_id": project, **fields})

    return send


def texts(api: Api, path: str) -> list[str]:
    return [text_in(message) for message in api.get(path).json["messages"]]


def text_of(answer: Answer) -> str:
    return "".join(p["delta"] for p in parts_of(answer.body) if p["type"] == "text-delta")


def test_a_chat_begins_with_its_first_message(
    api: Api, submit: Callable[..., Answer], path: str, name: str, project: str
):
    assert api.get(path).json["messages"] == []
    answer = submit(ui("1", "Hello 👋"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    parts = parts_of(answer.body)
    assert (parts[0]["type"], parts[-1]) == ("start", {"type": "finish", "finishReason": "stop"})
    assert text_of(answer) == "Hello 👋"
    chat = api.get(path).json
    assert [message["id"] for message in chat["messages"]] == ["1", parts[0]["messageId"]]
    assert (chat["id"], chat["activeStreamId"]) == (name, None)
    stored = api.get(answer.headers["location"]).json
    assert (stored["id"], stored["key"]) == (chat["conversation_id"], name)
    assert stored["project_id"] == project
    by_id = api.get(f"{CHAT}/{chat['conversation_id']}").json
    assert by_id["messages"] == chat["messages"]


def test_copies_are_stored_once_and_told_the_same_answer(
    api: Api,
    submit: Callable[..., Answer],
    path: str,
    name: str,
    project: str,
    connect: Callable[[], AbstractContextManager[Api]],
):
    def send(_: int) -> Answer:
        with connect() as client:
            body = {"id": name, "messages": [ui("1", "Hello")], "project_id": project}
            return client.post(CHAT, body)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert {text_of(answer) for answer in answers} == {"Hello"}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len({parts_of(answer.body)[0]["messageId"] for answer in answers}) == 1
    assert texts(api, path) == ["Hello", "Hello"]
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 3


def test_a_message_is_edited_and_an_answer_regenerated(
    api: Api, submit: Callable[..., Answer], path: str
):
    submit(ui("1", "One"))
    submit(ui("2", "Two"))
    assert texts(api, path) == ["One", "One", "Two", "Two"]
    old = api.get(path).json["messages"][3]["id"]
    submit(ui("2", "Two"), trigger="regenerate-message")
    assert texts(api, path) == ["One", "One", "Two", "Two"]
    assert api.get(path).json["messages"][3]["id"] != old
    submit(ui("1", "Eins"), messageId="1")
    assert texts(api, path) == ["Eins", "Eins"]
    conversation = api.get(path).json["conversation_id"]
    every = api.get(f"/api/v1/conversations/{conversation}/messages", branch="all").json
    assert len(every["messages"]) == 7


def test_an_answer_that_has_just_ended_is_told_again(
    api: Api, submit: Callable[..., Answer], path: str
):
    assert api.get(f"{path}/stream").status == 204
    first = submit(ui("1", "Hello"))
    again = api.get(f"{path}/stream")
    assert again.status == 200
    assert parts_of(again.body)[0] == parts_of(first.body)[0]
    assert text_of(again) == "Hello"


def test_an_answer_in_progress_is_stopped(api: Api, path: str, name: str, project: str):
    body = {"project_id": project, "key": name, "messages": [{"role": "user", "content": "Hi"}]}
    made = api.post("/api/v1/conversations", body).json
    messages = f"/api/v1/conversations/{made['id']}/messages"
    draft = {"role": "assistant", "content": "So", "status": "in_progress"}
    opened = api.post(messages, draft).json["id"]
    chat = api.get(path).json
    assert (texts(api, path), chat["activeStreamId"]) == (["Hi"], opened)
    assert api.post(f"{path}/stop", {"activeStreamId": "another"}).status == 204
    assert api.get(path).json["activeStreamId"] == opened
    assert api.post(f"{path}/stop").status == 204
    last = api.get(path).json["messages"][-1]
    assert (text_in(last), last["metadata"]) == ("So", {"status": "incomplete"})
    parts = parts_of(api.get(f"{path}/stream").body)
    assert parts[-1] == {"type": "abort", "reason": "stopped"}


def test_another_users_chat_of_that_name_is_another_one(
    api: Api, submit: Callable[..., Answer], path: str
):
    submit(ui("1", "Mine"))
    place = submit(ui("1", "Mine")).headers["location"]
    api.headers["X-User-Id"] = "mallory"
    assert api.get(path).json["messages"] == []
    assert api.post(f"{path}/stop").status == 204
    assert submit(ui("1", "Theirs")).headers["location"] != place
    assert texts(api, path) == ["Theirs", "Theirs"]


def test_what_no_model_answers_is_refused(submit: Callable[..., Answer]):
    for history in ([], [ui("1", "Hi", role="assistant")]):
        assert_problem(submit(*history), 422, "invalid")
