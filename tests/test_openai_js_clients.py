"""Tests with OpenAI's client for JavaScript, unmodified, in Node."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .support.model_server import ModelServer, Reply
from .support.openai_clients import WEATHER, answer, hex_of, message, weatherman
from .support.processes import PATIENCE, ROOT, Server

pytestmark = pytest.mark.system

JS = ROOT / "tests" / "js"


class Refused(Exception):
    """The client threw an error. `error` has its class and its fields."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error)
        self.error = error


class Client:
    """A client in a process of Node."""

    def __init__(self, server: Server) -> None:
        assert (JS / "node_modules").exists(), "run `make js`"
        self._process = subprocess.Popen(
            ["node", "openai.mjs", f"{server.url}/v1"],
            cwd=JS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, name: str, *args: Any, way: str = "once", **options: Any) -> Any:
        """Call a function of the client. Raises Refused."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        call = {"name": name, "way": way, "args": args, "options": options}
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        answered = json.loads(self._process.stdout.readline())
        if "error" in answered:
            raise Refused(answered["error"])
        return answered.get("result")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with ModelServer() as model:
        yield model


@pytest.fixture(autouse=True)
def hello(model: ModelServer) -> None:
    model.script = answer("Hello, ", "world")
    model.asked.clear()


@pytest.fixture(scope="module")
def client(model: ModelServer, url: str) -> Iterator[Client]:
    with Server(url, chat_base_url=model.url) as server:
        client = Client(server)
        yield client
        client.close()


@pytest.fixture
def id(client: Client) -> str:
    return str(client("conversations.create")["id"])


def said_in(client: Client, id: str) -> list[tuple[str, Any]]:
    """The types and the texts of a conversation's items. A message's type is its role."""
    items = client("conversations.items.list", id, {"order": "asc"}, way="list")
    return [
        (item["role"], item["content"][0]["text"])
        if item["type"] == "message"
        else (item["type"], item.get("arguments", item.get("output")))
        for item in items
    ]


@pytest.fixture
def respond(client: Client) -> Callable[..., Any]:
    """`respond(streamed, input="Hi")` returns the response, from the accumulator if streamed."""

    def ask(streamed: bool, **fields: Any) -> Any:
        body = {"model": "m", **fields}
        if streamed:
            return client("responses.stream", body, way="final")
        return client("responses.create", body)

    return ask


STREAMED = pytest.mark.parametrize("streamed", [False, True])


def test_a_conversation_is_made_changed_and_deleted(client: Client):
    made = client("conversations.create", {"items": [message("Hi")], "metadata": {"a": "b"}})
    assert client("conversations.retrieve", made["id"]) == made
    assert made["metadata"] == {"a": "b"}
    updated = client("conversations.update", made["id"], {"metadata": {"c": "d"}})
    assert updated["metadata"] == {"c": "d"}
    assert said_in(client, made["id"]) == [("user", "Hi")]
    deleted = client("conversations.delete", made["id"])
    assert deleted == {"id": made["id"], "object": "conversation.deleted", "deleted": True}


def test_items_are_added_read_and_deleted(client: Client, id: str):
    unknown = {"type": "hologram_call", "beams": [1, {"a": None}], "text": "Größe 👋"}
    items = {"items": [message("Hi"), unknown], "include": ["reasoning.encrypted_content"]}
    added = client("conversations.items.create", id, items)
    assert [item["type"] for item in added["data"]] == ["message", "hologram_call"]
    first, second = (item["id"] for item in added["data"])
    found = client("conversations.items.retrieve", second, {"conversation_id": id})
    assert found == added["data"][1] == {**unknown, "id": second}
    left = client("conversations.items.delete", first, {"conversation_id": id})
    assert (left["id"], left["object"]) == (id, "conversation")
    shown = client("conversations.items.list", id, {}, way="list")
    assert shown == [found]


def test_the_clients_iterator_finds_all_items(client: Client, id: str):
    for start in range(0, 120, 20):
        batch = [message(str(start + number)) for number in range(20)]
        client("conversations.items.create", id, {"items": batch})
    items = client("conversations.items.list", id, {"order": "asc"}, way="list")
    assert [item["content"][0]["text"] for item in items] == [str(n) for n in range(120)]
    include = ["message.output_text.logprobs"]
    for query in ({}, {"order": "desc", "limit": 100}, {"limit": 7, "include": include}):
        again = client("conversations.items.list", id, query, way="list")
        assert again == items[::-1]


@STREAMED
def test_a_question_is_answered(
    client: Client, id: str, respond: Callable[..., Any], streamed: bool
):
    response = respond(streamed, input="Hi", conversation=id)
    assert response["output_text"] == "Hello, world"
    assert (response["status"], response["conversation"]) == ("completed", {"id": id})
    assert response["usage"]["total_tokens"] == 16
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hello, world")]
    items = client("conversations.items.list", id, {}, way="list")
    assert items[0]["id"] == response["output"][0]["id"]


def test_the_events_of_a_stream_are_told_in_order(client: Client, id: str):
    body = {"model": "m", "input": "Hi", "conversation": id, "stream": True}
    events = client("responses.create", body, way="events")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip


@STREAMED
def test_a_function_is_called_and_its_output_answered(
    client: Client, id: str, model: ModelServer, respond: Callable[..., Any], streamed: bool
):
    model.script = weatherman(model)
    first = respond(streamed, input="Weather?", conversation=id, tools=[WEATHER])
    (call,) = first["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    second = respond(streamed, input=[output], conversation=id, tools=[WEATHER])
    assert second["output_text"] == "It is sunny."
    assert said_in(client, id) == [
        ("user", "Weather?"),
        ("function_call", '{"city":"Paris"}'),
        ("function_call_output", "sunny"),
        ("assistant", "It is sunny."),
    ]


@STREAMED
def test_a_response_goes_on_from_another(
    client: Client, respond: Callable[..., Any], streamed: bool
):
    first = respond(streamed, input="one")
    assert first["conversation"] is None
    second = respond(streamed, input="two", previous_response_id=first["id"])
    assert [text for _, text in said_in(client, second["conversation"]["id"])] == [
        "one", "Hello, world", "two", "Hello, world",
    ]  # fmt: skip


NOT_THERE = "conv_01970000000070008000000000000000"


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        (
            "conversations.retrieve", [NOT_THERE],
            ("NotFoundError", 404, "invalid_request_error", None, None),
        ),
        ("models.list", [], ("NotFoundError", 404, "invalid_request_error", None, None)),
        (
            "conversations.create", [{"items": [{"role": "king", "content": "x"}]}],
            ("BadRequestError", 400, "invalid_request_error", "items[0].role", "invalid_value"),
        ),
        (
            "responses.create", [{"input": "Hi", "background": True}],
            ("BadRequestError", 400, "invalid_request_error", "background",
             "unsupported_parameter"),
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    client: Client, name: str, args: list[Any], error: tuple[str, int, str, str | None, str | None]
):
    with pytest.raises(Refused) as raised:
        client(name, *args)
    found = raised.value.error
    assert error == tuple(found[name] for name in ("class", "status", "type", "param", "code"))
    assert found["message"].startswith(f"{error[1]} ")
    assert found["message"].endswith(".")


def test_the_client_repeats_what_failed_before_the_first_output(
    client: Client, id: str, model: ModelServer
):
    def fail_once(reply: Reply) -> None:
        if len(model.asked) == 1:
            reply.begin(500).end()
        else:
            answer("Hello")(reply)

    model.script = fail_once
    body = {"input": "Hi", "conversation": id}
    assert client("responses.create", body, maxRetries=1)["output_text"] == "Hello"
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hello")]


@STREAMED
def test_an_answer_that_breaks_off_is_not_repeated(
    client: Client, id: str, model: ModelServer, streamed: bool
):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    body = {"input": "Hi", "conversation": id, "stream": streamed}
    if streamed:
        events = client("responses.create", body, way="events", maxRetries=2)
        assert events[-1]["type"] == "response.failed"
    else:
        with pytest.raises(Refused) as raised:
            client("responses.create", body, maxRetries=2)
        assert (raised.value.error["class"], raised.value.error["status"]) == (
            "InternalServerError",
            502,
        )
        assert raised.value.error["code"] == "model_failed"
    assert len(model.asked) == 1
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hel")]


def test_ids_are_the_stores(client: Client, respond: Callable[..., Any]):
    response = respond(False, input="Hi")
    assert response["id"] == f"resp_{hex_of(response['output'][0]['id'])}"
