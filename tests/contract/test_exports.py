"""Tests the export of one conversation."""

import json
from typing import Any

import pytest

from tests.support.clients import Api, assert_problem


@pytest.fixture
def path(api: Api, conversation: dict[str, Any]) -> str:
    """A conversation of a question with two answers, of which the second one is active."""
    messages = f"/api/v1/conversations/{conversation['id']}/messages"
    question = api.post(messages, {"role": "user", "content": "2+2?"}).json
    for content in ("5", "4"):
        answer = {"role": "assistant", "content": content, "parent_id": question["id"]}
        api.post(messages, answer)
    return f"/api/v1/conversations/{conversation['id']}/export"


def test_jsonl_has_the_conversation_and_then_every_message(api: Api, path: str):
    answer = api.get(path, format="jsonl")
    assert answer.headers["content-type"] == "application/x-ndjson"
    conversation, *messages = map(json.loads, answer.body.decode().splitlines())
    shown = api.get(path.removesuffix("/export"), include_messages="false").json
    del shown["messages"]
    assert conversation == {"type": "conversation", **shown}
    all_there = api.get(f"{path.removesuffix('export')}messages", branch="all").json["messages"]
    assert messages == [{"type": "message", **message} for message in all_there]


def test_markdown_and_items_have_the_active_branch(api: Api, path: str):
    answer = api.get(path, format="markdown")
    assert answer.headers["content-type"] == "text/markdown"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert answer.body.decode().endswith("## User\n\n2+2?\n\n## Assistant\n\n4\n")
    assert api.get(f"{path}/").body == answer.body
    head, *items = map(json.loads, api.get(path, format="openai").body.decode().splitlines())
    assert head["object"] == "conversation"
    assert [item["content"][0]["text"] for item in items] == ["2+2?", "4"]


def test_chatgpts_shape_has_the_tree(api: Api, path: str):
    answer = api.get(path, format="chatgpt")
    assert answer.headers["content-type"] == "application/json"
    (conversation,) = answer.json
    leaf = conversation["mapping"][conversation["current_node"]]
    assert leaf["message"]["content"] == {"content_type": "text", "parts": ["4"]}
    assert len(conversation["mapping"][leaf["parent"]]["children"]) == 2


def test_what_cannot_be_exported_is_a_problem(api: Api, path: str):
    assert_problem(api.get(path, format="docx"), 422, "invalid")
    api.delete(path.removesuffix("/export"))
    assert_problem(api.get(path), 404, "conversation-not-found")
