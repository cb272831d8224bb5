"""Tests how stored messages are told to a model: what parts mean, and which calls have results."""

from typing import Any

import pytest

from db.chat_messages import told
from db.messages import Draft
from db.models import MessageRow


def rows_of(*drafts: Draft) -> list[MessageRow]:
    return [
        MessageRow(
            id=f"id {at}",
            conversation_id="",
            role=draft.role,
            content=draft.content,
            status=draft.status,
            metadata=draft.metadata,
            created_at="",
            updated_at="",
            position=at,
            content_type="",
            revision=at,
            streamed_from=None,
            client_id=None,
            parent=None,
            parent_id=None,
        )
        for at, draft in enumerate(drafts)
    ]


def sent(*drafts: Draft) -> list[dict[str, Any]]:
    return [it.message for it in told(rows_of(*drafts))[0]]


def asked(*ids: str, content: str | None = None) -> dict[str, Any]:
    """An assistant's message that calls the tool `f` once for each id."""
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": id, "type": "function", "function": function} for id in ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def answered(id: str, text: str = "42") -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": id}


def call(id: str, text: str | None = None) -> Draft:
    said = [] if text is None else [{"type": "text", "text": text}]
    return Draft("assistant", [*said, {"type": "tool_call", "id": id, "name": "f"}])


def result(id: str, text: str = "42") -> Draft:
    return Draft("tool", text, metadata={"tool_call_id": id})


PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "file-1"}}
CONTENTS: list[tuple[str, Any, Any]] = [
    ("user", "Hello", "Hello"),
    (
        "user",
        [{"type": "text", "text": "Hello"}, {"type": "input_text", "text": "you"}],
        "Hello you",
    ),
    ("assistant", [{"type": "output_text", "text": "Hello", "annotations": []}], "Hello"),
    ("user", [PICTURE, SOUND, FILE], [PICTURE, SOUND, FILE]),
    ("user", [{"type": "input_image", "image_url": "data:,"}], [PICTURE]),
    (
        "user",
        [{"type": "input_image", "image_url": "data:,", "detail": "low"}],
        [{"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}],
    ),
    ("user", [{"type": "file", "mediaType": "image/png", "url": "data:,"}], [PICTURE]),
    ("user", [{"type": "input_file", "file_id": "file-1"}], [FILE]),
    (
        "user",
        [{"type": "text", "text": "Look", "state": "done"}, PICTURE],
        [{"type": "text", "text": "Look"}, PICTURE],
    ),
    ("user", [{"type": "file", "mediaType": "text/csv", "url": "data:,"}, *SOUND], None),
    ("user", [{"type": "text", "text": 7}, {"type": "image"}, {"text": "untyped"}, {}], None),
    ("user", " \n", None),
    ("user", [], None),
    ("assistant", [PICTURE], None),
    ("system", [PICTURE, {"type": "text", "text": "Be brief."}], "Be brief."),
    ("assistant", [{"type": "reasoning", "text": "Hm"}, {"type": "tool-f", "input": 1}], None),
    ("tool", "42", None),
]


@pytest.mark.parametrize(("role", "content", "expected"), CONTENTS)
def test_a_message_is_told_as_content(role: str, content: Any, expected: Any):
    found = sent(Draft(role, content), Draft("user", "End"))
    assert found[:-1] == ([] if expected is None else [{"role": role, "content": expected}])


def test_a_message_in_progress_is_not_told_and_an_incomplete_one_is_if_it_has_text():
    drafts = [
        Draft("assistant", "Writing", "in_progress"),
        Draft("assistant", "Cut", "incomplete"),
        Draft("assistant", "", "incomplete"),
    ]
    assert [message["content"] for message in sent(*drafts)] == ["Cut"]


def test_the_newest_message_is_told_even_if_it_is_an_empty_question():
    assert sent(Draft("user", ""), Draft("user", [])) == [{"role": "user", "content": ""}]
    assert sent(Draft("assistant", "")) == []
    assert sent(Draft("user", "", "in_progress")) == []


ARGUMENTS = '{"city":"Paris"}'
CALLS: list[tuple[Any, Any]] = [
    ([{"type": "tool_call", "id": "1", "name": "f", "arguments": ARGUMENTS}], None),
    ([{"type": "tool_call", "id": "1", "name": "f", "arguments": {"city": "Paris"}}], None),
    ([{"type": "function_call", "call_id": "1", "name": "f", "arguments": ARGUMENTS}], None),
    ([{"type": "tool_use", "id": "1", "name": "f", "input": {"city": "Paris"}}], None),
    ("", {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": ARGUMENTS}}]}),
]  # fmt: skip
TEXT_PARTS = [{"type": "text", "text": "42"}]
RESULTS: list[Draft] = [
    Draft("tool", "42", metadata={"tool_call_id": "1"}),
    Draft("tool", TEXT_PARTS, metadata={"tool_call_id": "1"}),
    Draft("tool", [{"type": "tool_result", "call_id": "1", "output": "42"}]),
    Draft("tool", [{"type": "tool_result", "tool_call_id": "1", "output": 42}]),
    Draft("user", [{"type": "tool_result", "tool_use_id": "1", "content": TEXT_PARTS}]),
    Draft("tool", [{"type": "function_call_output", "call_id": "1", "output": "42"}]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "metadata"), CALLS)
@pytest.mark.parametrize("answer", RESULTS)
def test_a_call_and_its_result_are_told_whatever_their_form(
    content: Any, metadata: Any, answer: Draft
):
    called, answered = sent(Draft("assistant", content, metadata=metadata), answer)
    function = {"name": "f", "arguments": ARGUMENTS}
    assert called == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    assert answered == {"role": "tool", "content": "42", "tool_call_id": "1"}


def test_calls_in_a_row_belong_to_one_message():
    assert sent(call("1"), call("2"), result("2", "two"), result("1", "one")) == [
        asked("1", "2"),
        answered("1", "one"),
        answered("2", "two"),
    ]
    assert sent(Draft("assistant", "Well"), call("1"), result("1")) == [
        asked("1", content="Well"),
        answered("1"),
    ]
    assert sent(call("1"), result("1"), call("2"), result("2")) == [
        asked("1"), answered("1"), asked("2"), answered("2"),
    ]  # fmt: skip


def test_a_message_may_have_calls_their_results_and_text_in_any_order():
    parts = [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_call", "id": "1", "name": "f"},
        {"type": "tool_result", "call_id": "1", "output": "42"},
        {"type": "text", "text": "It is 42."},
    ]
    assert sent(Draft("assistant", parts)) == [
        asked("1", content="Let me see."),
        answered("1"),
        {"role": "assistant", "content": "It is 42."},
    ]


def test_a_call_without_result_and_a_result_without_call_are_not_told():
    assert sent(call("1", "Well"), Draft("user", "Hello?")) == [
        {"role": "assistant", "content": "Well"},
        {"role": "user", "content": "Hello?"},
    ]
    assert sent(call("1"), call("2"), result("2")) == [asked("2"), answered("2")]
    assert sent(result("1"), call("1")) == []
    assert sent(call("1"), result("1"), result("1", "again")) == [asked("1"), answered("1")]


def test_a_result_that_came_late_is_told_behind_its_call():
    assert sent(call("1"), Draft("user", "And?"), result("1")) == [
        asked("1"),
        answered("1"),
        {"role": "user", "content": "And?"},
    ]


def test_a_model_may_use_the_ids_of_its_calls_again():
    drafts = [call("1"), result("1", "one"), Draft("user", "More"), call("1"), result("1", "two")]
    assert [message["content"] for message in sent(*drafts)] == [None, "one", "More", None, "two"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "tool_call", "id": "", "name": "f"},
        {"type": "tool_call", "id": 1, "name": "f"},
        {"type": "tool_call", "id": "1"},
        {"type": "tool_use", "id": "1", "name": None},
        {"type": "function_call", "id": "1", "name": "f"},
    ],
)
def test_a_damaged_call_is_not_told(part: dict[str, Any]):
    assert sent(Draft("assistant", [part]), result("1"), result("")) == []


def test_what_is_told_names_the_rows_that_say_it():
    found, unmatched = told(rows_of(result("0"), call("1"), call("2"), result("2"), result("1")))
    assert [(it.at, sorted(it.rows)) for it in found] == [(1, [1, 2]), (1, [4]), (1, [3])]
    assert unmatched == {0}
