"""Tests that every dialect shows the same rows: their ids, their order, their texts."""

from typing import Any

import pytest
from openai import OpenAI

from db import api_keys
from db.engine.database import database

from .support.clients import Api, assert_problem
from .support.model_server import ModelServer, Reply
from .support.openai_clients import (
    WEATHER,
    answer,
    hex_of,
    items_in,
    message,
    text_of,
    weatherman,
)
from .support.ui_messages import text_in, ui
from .support.world import PROJECT


def text_of_content(content: Any) -> str:
    """What a message says in /api/v1 and /projects. A call or an output is one part."""
    if isinstance(content, str):
        return content
    (part,) = content
    if part["type"] == "function_call":
        return f"{part['name']}({part['arguments']})"
    return str(part["output"] if part["type"] == "function_call_output" else part["text"])


@pytest.fixture
def other_api(other_api: Api) -> Api:
    """A client with a key, without which `/projects` shows nothing."""
    other_api.headers["X-API-Key"], _ = api_keys.make()
    database.close()
    return other_api


@pytest.fixture
def id(client: OpenAI, other_api: Api, model: ModelServer) -> str:
    """A conversation that each dialect has written to, with a call and its output."""
    model.script = weatherman(model)
    id = str(other_api.post("/api/v1/conversations", {"project_id": PROJECT}).json["id"])
    client.conversations.items.create(id, items=[message("Be brief.", "system")])
    client.responses.create(input="Weather?", conversation=id, tools=[WEATHER])
    output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    client.responses.create(input=[output], conversation=id)
    path = f"/projects/{PROJECT}/conversations/{id}/messages"
    thanks = {"messages": [{"role": "user", "content": "Thanks"}]}
    assert other_api.post(path, thanks).status == 201
    model.script = answer("Bye")
    assert other_api.post("/api/v1/chat", {"conversation_id": id, "content": "Go"}).status == 200
    submission = {"id": id, "messages": [ui("1", "Still there?")], "trigger": "submit-message"}
    assert other_api.post("/api/chat", submission).status == 200
    return id


def test_four_dialects_show_one_conversation(
    client: OpenAI, other_api: Api, id: str, model: ModelServer
):
    ours = other_api.get(f"/api/v1/conversations/{id}/messages").json["messages"]
    assert [(row["role"], text_of_content(row["content"])) for row in ours] == [
        ("system", "Be brief."),
        ("user", "Weather?"),
        ("assistant", 'weather({"city":"Paris"})'),
        ("tool", "sunny"),
        ("assistant", "It is sunny."),
        ("user", "Thanks"),
        ("user", "Go"),
        ("assistant", "Bye"),
        ("user", "Still there?"),
        ("assistant", "Bye"),
    ]
    ids = [row["id"] for row in ours]
    texts = [text_of_content(row["content"]) for row in ours]

    theirs = other_api.get(f"/projects/{PROJECT}/conversations/{id}/messages", limit=100).json
    assert [row["id"] for row in theirs["data"]] == ids
    assert [text_of_content(row["content"]) for row in theirs["data"]] == texts
    assert [row["role"] for row in theirs["data"]] == [row["role"] for row in ours]

    items = items_in(client, id)
    assert [hex_of(item.id) for item in items] == [each.replace("-", "") for each in ids]
    assert [text_of(item) for item in items] == texts
    assert [item.type for item in items[1:5]] == [
        "message", "function_call", "function_call_output", "message",
    ]  # fmt: skip

    shown = other_api.get(f"/api/chat/{id}").json["messages"]
    said = [(row, text) for row, text in zip(ours, texts, strict=True) if row["role"] != "tool"]
    words = [(row, text) for row, text in said if "weather(" not in text]
    assert [text_in(each) for each in shown if text_in(each)] == [text for _, text in words]
    assert [each["role"] for each in shown if text_in(each)] == [row["role"] for row, _ in words]

    path = f"/api/v1/conversations/{id}"
    context = other_api.get(f"{path}/context").json["messages"]
    assert [each["role"] for each in context] == [row["role"] for row in ours]
    client.responses.create(conversation=id, input="And now?")
    told = model.asked[-1].body["messages"]
    assert told[:-1] == context


def test_what_one_dialect_changes_the_others_show(client: OpenAI, other_api: Api, id: str):
    items = items_in(client, id)
    client.conversations.items.delete(items[-1].id, conversation_id=id)
    first = items[1].id
    uuid = other_api.get(f"/api/v1/conversations/{id}/messages").json["messages"][1]["id"]
    assert hex_of(first) == uuid.replace("-", "")
    path = f"/api/v1/conversations/{id}/messages/{uuid}"
    assert other_api.patch(path, {"content": "Sun?"}).status == 200
    changed: Any = client.conversations.items.retrieve(first, conversation_id=id)
    assert text_of(changed) == "Sun?"
    page = other_api.get(f"/projects/{PROJECT}/conversations/{id}/messages").json
    assert len(page["data"]) == len(items) - 1
    client.conversations.delete(id)
    for path in (f"/api/v1/conversations/{id}", f"/projects/{PROJECT}/conversations/{id}/messages"):
        assert other_api.get(path).status == 404


def test_calls_of_the_chat_are_told_by_responses(
    client: OpenAI, other_api: Api, model: ModelServer
):
    """A call that `/api/v1/chat` stored as a part is understood here."""

    def call(reply: Reply) -> None:
        reply.begin().call("weather", "{}").finish("tool_calls").done()

    id = other_api.post("/api/v1/conversations", {"project_id": PROJECT}).json["id"]
    model.script = call
    function = {"name": "weather", "parameters": WEATHER["parameters"]}
    body = {
        "conversation_id": id,
        "content": "Weather?",
        "tools": [{"type": "function", "function": function}],
    }
    assert other_api.post("/api/v1/chat", body).status == 200
    result = {
        "role": "tool",
        "content": "sunny",
        "metadata": {"tool_call_id": "call_1"},
    }
    assert other_api.post(f"/api/v1/conversations/{id}/messages", result).status == 201
    model.script = answer("It is sunny.")
    assert client.responses.create(conversation=id).output_text == "It is sunny."
    told = model.asked[-1].body["messages"]
    assert [each["role"] for each in told] == ["user", "assistant", "tool"]
    assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"] == "call_1"


@pytest.mark.parametrize("type", [None, 7, []])
def test_an_item_whose_type_is_no_text_is_refused(api: Api, type: object):
    item = {"type": type, "role": "user", "content": "Hello"}
    assert_problem(api.post("/v1/conversations", {"items": [item]}), 422, "invalid")
