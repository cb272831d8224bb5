"""Tests that an import keeps all messages and parts of an export that is not as it should be."""

from pathlib import Path
from typing import Any

import pytest

from db.lists import newest
from db.scope import EVERYTHING

from .support.exports import bring_in, chatgpt, conversation_of, rows_of, said, tree_of, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export"


def claude(*messages: dict[str, Any]) -> list[Any]:
    return [
        {"uuid": "c", "name": "T", "chat_messages": [{"sender": "human", **it} for it in messages]}
    ]


def openai(*items: dict[str, Any]) -> tuple[Any, ...]:
    head = {"object": "conversation", "id": "c", "title": "T"}
    return (head, *({"type": "message", "role": "user", **it} for it in items))


def ui(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"id": "c", "title": "T", "messages": [{"role": "user", **it} for it in messages]}


def librechat(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"conversationId": "c", "title": "T", "messages": list(messages)}


def openwebui(*messages: dict[str, Any]) -> list[Any]:
    return [
        {"id": "c", "title": "T", "chat": {"messages": [{"role": "user", **it} for it in messages]}}
    ]


@pytest.mark.parametrize(
    ("make", "id", "content"),
    [
        (claude, "uuid", lambda text: {"text": text}),
        (openai, "id", lambda text: {"content": text}),
        (ui, "id", lambda text: {"parts": [text]}),
        (librechat, "messageId", lambda text: {"text": text}),
        (openwebui, "id", lambda text: {"content": text}),
    ],
)
def test_a_repeated_id_loses_no_message(file: Path, make: Any, id: str, content: Any):
    ids = ("a", "a", "a", None, "1", "3")
    texts = ("A", "A", "B", "C", "D", "E")
    messages = [
        {**({id: name} if name else {}), **content(text)}
        for name, text in zip(ids, texts, strict=True)
    ]
    report = bring_in(write(file, make(*messages)))
    assert (report.messages, report.messages_with_a_repeated_id) == (5, 2)
    found = [row[1] if isinstance(row[1], str) else row[1][0]["text"] for row in tree_of("T")[:-1]]
    assert found == ["A", "B", "C", "D", "E"]
    assert bring_in(file, update=True).unchanged == 1


def test_children_of_a_message_without_an_id_stay_its_children(file: Path):
    child = {"messageId": "2", "text": "Child"}
    write(file, librechat({"text": "Parent", "children": [child]}))
    bring_in(file)
    assert tree_of("T")[1] == ("assistant", "Child", "Parent")


def test_a_message_may_have_any_metadata(file: Path):
    own = {"id": "x", "format": "y", "rest": 1}
    bring_in(
        write(file, ui({"id": "m", "metadata": own, "parts": [{"type": "text", "text": "Hi"}]}))
    )
    (row,) = rows_of(conversation_of("T").id)
    assert row.metadata == {**own, "import": {"format": "uimessage", "id": "m"}}


HI = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image", "x": 1}


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (openai({"content": ["Hi", None, IMAGE]}), [HI, IMAGE]),
        (openai({"content": ["Hi"]}), "Hi"),
        (ui({"parts": ["Hi", None, 5]}), [HI, {"type": "json", "json": 5}]),
        (claude({"content": ["Hi", None, IMAGE]}), [HI, IMAGE]),
        (librechat({"content": ["Hi", None, IMAGE]}), [HI, IMAGE]),
        (openwebui({"content": IMAGE}), [IMAGE]),
        ([chatgpt({"1": (None, said({"content_type": "multimodal_text", "parts": [{"x": 1}]}))},
                  title="T")], [{"x": 1}]),
        ([chatgpt({"1": (None, said({"content_type": "code", "text": "1", "type": "x"}))},
                  title="T")], [{"type": "code", "content_type": "code", "text": "1"}]),
        (claude({"content": [{"type": "tool_use", "id": "1", "name": "f", "arguments": 5}]}),
         [{"type": "tool_call", "id": "1", "name": "f", "arguments": None}]),
    ],
)  # fmt: skip
def test_parts_of_any_shape_are_objects_with_our_fields(file: Path, value: Any, content: Any):
    bring_in(write(file, value))
    assert tree_of("T")[0][1] == content


def test_old_calls_and_refusals_of_fine_tuning_are_kept(file: Path):
    call = {"name": "f", "arguments": "{}"}
    messages = [
        {"role": "user", "content": ["Hi", None, IMAGE]},
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "assistant", "content": None, "refusal": "No"},
    ]
    bring_in(write(file, {"messages": messages}))
    (row,) = newest(EVERYTHING).rows
    assert [row.content for row in rows_of(row.id)] == [
        [HI, IMAGE],
        [{"type": "tool_call", "id": None, **call}],
        [{"type": "refusal", "refusal": "No"}],
    ]
