"""Tests that OpenAI's own client is told what is wrong, and by which of its exceptions."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import openai
import pytest
from openai import OpenAI

from db import api_keys
from db.engine.database import database
from db.engine.sqlite import SqliteStore

from .support.model_server import ModelServer
from .support.openai_clients import CALL, UNKNOWN, Connect, items_in, listed, message
from .support.world import OTHER_PROJECT, PROJECT


@pytest.fixture
def id(client: OpenAI) -> str:
    return client.conversations.create().id


class Fault(NamedTuple):
    """A request that is refused, by a client and a conversation, and what is wrong with it."""

    ask: Callable[[OpenAI, str], object]
    param: str | None
    code: str | None


def items_create(*items: Any, **rest: Any) -> Callable[[OpenAI, str], object]:
    return lambda client, here: client.conversations.items.create(here, items=items, **rest)


def respond(**fields: Any) -> Callable[[OpenAI, str], object]:
    """A response in the conversation, with these fields in its body."""

    def ask(client: OpenAI, id: str) -> object:
        return client.responses.create(extra_body={"input": "Hi", "conversation": id, **fields})

    return ask


TOO_MANY_PAIRS = {str(number): "x" for number in range(17)}
ROLE = {"type": "message", "content": "x"}
FAULTS = {
    "an unknown field": Fault(
        lambda client, here: client.conversations.create(extra_body={"colour": "red"}),
        "colour", "unknown_parameter",
    ),
    "an unknown parameter": Fault(
        lambda client, here: client.conversations.items.list(here, extra_query={"colour": "red"}),
        "colour", "unknown_parameter",
    ),
    "no items": Fault(
        lambda client, here: client.post(f"/conversations/{here}/items", body={}, cast_to=object),
        "items", "missing_required_parameter",
    ),
    "no metadata": Fault(
        lambda client, here: client.post(f"/conversations/{here}", body={}, cast_to=object),
        "metadata", "missing_required_parameter",
    ),
    "items that are none": Fault(
        lambda client, here: client.conversations.create(items="Hi"),
        "items", "invalid_type",
    ),
    "metadata that is none": Fault(
        lambda client, here: client.conversations.update(here, metadata=[]),
        "metadata", "invalid_type",
    ),
    "too much metadata": Fault(
        lambda client, here: client.conversations.update(here, metadata=TOO_MANY_PAIRS),
        "metadata", "invalid_value",
    ),
    "a limit of 0": Fault(
        lambda client, here: client.conversations.items.list(here, limit=0),
        "limit", "invalid_value",
    ),
    "a limit of 101": Fault(
        lambda client, here: client.conversations.items.list(here, limit=101),
        "limit", "invalid_value",
    ),
    "an unknown order": Fault(
        lambda client, here: client.conversations.items.list(here, order="up"),
        "order", "invalid_value",
    ),
    "a cursor that is no id": Fault(
        lambda client, here: client.conversations.items.list(here, after="here"),
        "after", "invalid_value",
    ),
    "a message without a role": Fault(
        items_create(message("x"), ROLE), "items[1].role", "missing_required_parameter"
    ),
    "a message of an unknown role": Fault(
        items_create({**ROLE, "role": "king"}), "items[0].role", "invalid_value"
    ),
    "a message without content": Fault(
        items_create({"type": "message", "role": "user"}),
        "items[0].content", "missing_required_parameter",
    ),
    "a call without a name": Fault(
        items_create({"type": "function_call", "call_id": "c", "arguments": ""}),
        "items[0].name", "missing_required_parameter",
    ),
    "a call whose arguments are no text": Fault(
        items_create({**CALL, "arguments": {}}), "items[0].arguments", "invalid_type"
    ),
    "an output without a call": Fault(
        items_create({"type": "function_call_output", "output": "x"}),
        "items[0].call_id", "missing_required_parameter",
    ),
    "no model of an empty question": Fault(
        lambda client, here: client.responses.create(), "input", "missing_required_parameter"
    ),
    "in the background": Fault(respond(background=True), "background", "unsupported_parameter"),
    "by a stored prompt": Fault(respond(prompt={"id": "p"}), "prompt", "unsupported_parameter"),
    "with context management": Fault(
        respond(context_management=[{"type": "compaction"}]),
        "context_management", "unsupported_parameter",
    ),
    "with moderation": Fault(
        respond(moderation={"model": "m"}), "moderation", "unsupported_parameter"
    ),
    "in a conversation and after a response": Fault(
        respond(previous_response_id="resp_" + "0" * 32),
        None, "mutually_exclusive_parameters",
    ),
    "an unknown field of a response": Fault(
        respond(colour="red"), "colour", "unknown_parameter"
    ),
    "a temperature that is none": Fault(
        respond(temperature="warm"), "temperature", "invalid_type"
    ),
    "a body that is not JSON": Fault(
        lambda client, here: client.post("/conversations", content=b"{", cast_to=object), None, None
    ),
}  # fmt: skip


def assert_error(error: openai.APIStatusError, type: str = "invalid_request_error") -> None:
    """Assert that an error has the shape of all errors."""
    assert error.response.headers["content-type"] == "application/json"
    body = json.loads(error.response.text)
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert body["error"]["message"].endswith(".")
    assert error.type == type
    assert error.request_id


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_what_is_wrong_with_a_request_is_named(client: OpenAI, id: str, fault: Fault):
    with pytest.raises(openai.BadRequestError) as raised:
        fault.ask(client, id)
    assert_error(raised.value)
    assert (raised.value.param, raised.value.code) == (fault.param, fault.code)
    assert items_in(client, id) == []


@pytest.mark.parametrize(
    ("ask", "param"),
    [
        (items_create({"type": "item_reference", "id": "msg_1"}), "items[0]"),
        (items_create({**UNKNOWN, "alpha": "\0"}), "items[0]"),
        (items_create(message("\0")), "items[0]"),
        (respond(tools=[{"type": "web_search"}]), "tools[0]"),
        (respond(input=[{**ROLE, "role": "king"}]), "input"),
        (
            lambda client, here: client.conversations.update(here, metadata={"x" * 65: ""}),
            "metadata",
        ),
        (
            lambda client, here: client.conversations.update(here, metadata={"x": "y" * 513}),
            "metadata",
        ),
    ],
    ids=[
        "a reference", "NUL in an item", "NUL in a message", "a tool of OpenAI's",
        "an unknown role", "a long key", "a long value",
    ],
)  # fmt: skip
def test_where_a_request_is_wrong_is_named(
    client: OpenAI, id: str, ask: Callable[[OpenAI, str], object], param: str
):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, id)
    assert_error(raised.value)
    assert (raised.value.param or "").startswith(param)
    assert items_in(client, id) == []


NOBODY = "01970000000070008000000000000000"
MISSING: dict[str, Callable[[OpenAI, str], object]] = {
    "conversation": lambda client, here: client.conversations.retrieve(f"conv_{NOBODY}"),
    "what is no id": lambda client, here: client.conversations.retrieve("conv_mine"),
    "item": lambda client, here: client.conversations.items.retrieve(
        f"msg_{NOBODY}", conversation_id=here
    ),
    "item that is no id": lambda client, here: client.conversations.items.delete(
        "mine", conversation_id=here
    ),
    "response": lambda client, here: client.responses.retrieve(f"resp_{NOBODY}"),
    "path": lambda client, here: client.models.list(),
    "deep path": lambda client, here: client.get("/a/b/c/d", cast_to=object),
}


@pytest.mark.parametrize("ask", MISSING.values(), ids=MISSING.keys())
def test_what_is_not_there_is_not_found(
    client: OpenAI, id: str, ask: Callable[[OpenAI, str], object]
):
    with pytest.raises(openai.NotFoundError) as raised:
        ask(client, id)
    assert_error(raised.value)
    assert raised.value.code is None


def test_an_item_of_another_conversation_is_not_found(client: OpenAI, id: str):
    other = client.conversations.create(items=[message("Hi")]).id
    (item,) = items_in(client, other)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(item.id, conversation_id=id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.delete(item.id, conversation_id=id)
    assert items_in(client, other) == [item]


@pytest.fixture
def closed(configure: Callable[..., None], port: int) -> None:
    """The stage is not open."""
    configure(require_api_key="true")


def new_key(project_id: str | None = None) -> str:
    plain, _ = api_keys.make(project_id)
    database.close()
    return plain


@pytest.mark.usefixtures("closed")
def test_a_key_is_a_bearer_token(connect: Connect):
    client = connect(api_key=new_key())
    id = client.conversations.create().id
    assert client.conversations.retrieve(id).id == id


@pytest.mark.usefixtures("closed")
def test_x_api_key_wins(connect: Connect):
    client = connect(default_headers={"X-API-Key": new_key()})
    assert client.conversations.create().id


@pytest.mark.usefixtures("closed")
def test_an_unknown_key_is_refused(connect: Connect):
    with pytest.raises(openai.AuthenticationError) as raised:
        connect().conversations.create()
    assert_error(raised.value)
    assert (raised.value.param, raised.value.code) == (None, "invalid_api_key")
    assert raised.value.response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.usefixtures("closed")
def test_a_key_for_another_project_is_refused(connect: Connect):
    client = connect(api_key=new_key(PROJECT), project=OTHER_PROJECT)
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client.conversations.create()
    assert_error(raised.value)
    assert raised.value.code is None


@pytest.mark.usefixtures("closed")
def test_what_a_key_does_not_open_is_not_found(connect: Connect):
    id = connect(api_key=new_key()).conversations.create().id
    with pytest.raises(openai.NotFoundError):
        connect(api_key=new_key(PROJECT)).conversations.retrieve(id)


@pytest.mark.parametrize(
    ("status", "ask"),
    [
        (405, lambda client: client.put("/conversations", cast_to=object, body={})),
        (
            413,
            lambda client: client.conversations.create(items=[message("x" * 6_000_000)]),
        ),
        (
            415,
            lambda client: client.conversations.create(extra_headers={"Content-Type": "image/png"}),
        ),
    ],
)
def test_other_errors_have_the_same_shape(
    client: OpenAI, status: int, ask: Callable[[OpenAI], object]
):
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client)
    assert raised.value.status_code == status
    assert_error(raised.value)
    assert (raised.value.param, raised.value.code) == (None, None)


def test_a_repeated_key_makes_one_conversation(client: OpenAI):
    headers = {"Idempotency-Key": "k"}
    first = client.conversations.create(metadata={"a": "b"}, extra_headers=headers)
    assert client.conversations.create(metadata={"a": "b"}, extra_headers=headers) == first
    assert listed(client) == [first.id]
    with pytest.raises(openai.BadRequestError) as raised:
        client.conversations.create(metadata={"a": "c"}, extra_headers=headers)
    assert_error(raised.value)
    assert raised.value.code == "idempotency_key_reused"


def test_a_busy_database_is_told_and_tried_again(
    connect: Connect, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    database.initialize(SqliteStore(store.place, busy_timeout="1"))
    with closing(sqlite3.connect(store.place, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(openai.InternalServerError) as raised:
            connect().conversations.create()
        assert raised.value.status_code == 503
        assert_error(raised.value, "server_error")
        assert raised.value.code == "unavailable"

        def wait(client: OpenAI, left: int, options: Any, headers: Any) -> float:
            assert headers["retry-after"] == "1"
            other.rollback()
            return 0

        monkeypatch.setattr(OpenAI, "_calculate_retry_timeout", wait)
        assert connect(max_retries=1).conversations.create().id
    database.obj.close_all()


def test_a_model_is_not_asked_about_a_faulty_request(client: OpenAI, id: str, model: ModelServer):
    with pytest.raises(openai.BadRequestError):
        client.responses.create(input="Hi", conversation=id, background=True)
    assert model.asked == []
