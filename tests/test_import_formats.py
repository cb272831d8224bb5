"""Tests each format of an export by a small and awkward one, and the tree that is made of it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from db.transfer.parsed import Unreadable
from db.transfer.values import milliseconds

from .support.exports import (
    SECONDS,
    bring_in,
    chatgpt,
    conversation_of,
    line,
    rows_of,
    said,
    tree_of,
    write,
)

ZERO = "00000000-0000-0000-0000-000000000000"

READS_DEEP = sys.version_info[:2] != (3, 12)  # its `json` ends at a depth of 1,500


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export"  # a name tells nothing


def test_chatgpts_branches_are_kept_and_not_mixed(file: Path):
    nodes = {
        # The order of the file is not that of the tree.
        "b2": ("q", said("Second answer", "assistant", 4)),
        "root": (None, None),
        "system": ("root", said("", "system", None, metadata={})),
        "q": ("system", said("Question", time=1, id="another id")),
        "b1": ("q", said("First answer", "assistant", 2)),
        "q2": ("b1", said("More?", time=3)),
        "edited": ("system", said("Question, edited", time=5)),
        "lost": ("nowhere", said("Orphan", time=6)),
    }
    write(file, [None, chatgpt(nodes, current_node="q2", is_archived=True, gizmo_id="g")])
    report = bring_in(file)
    assert (report.found, report.created, report.messages, report.branches) == (2, 1, 6, 4)
    assert report.skipped == {"structural": 1, "empty": 1, "hidden": 0}
    assert tree_of("Planning") == [
        ("user", "Question", None),
        ("assistant", "First answer", "Question"),
        ("user", "More?", "First answer"),
        ("assistant", "Second answer", "Question"),
        ("user", "Question, edited", None),
        ("user", "Orphan", None),
        ("leaf", "More?"),
    ]
    row = conversation_of("Planning")
    assert row.is_archived
    assert row.created_at == "2023-11-14T22:13:20.000Z"
    assert row.metadata == {"import": {"format": "chatgpt", "id": "c", "gizmo_id": "g"}}
    first = rows_of(row.id)[0]
    assert first.metadata == {"import": {"format": "chatgpt", "id": "q", "parent": "system"}}
    # Its time is later than that of the root, the empty system message, and as the source says.
    assert first.created_at == "2023-11-14T22:13:21.000Z"


def test_chatgpts_kinds_of_content_become_parts(file: Path):
    def of(kind: str, **fields: Any) -> dict[str, Any]:
        return {"content_type": kind, **fields}

    image = of("image_asset_pointer", asset_pointer="file-service://1", width=2)
    nodes = {
        "1": (None, said(of("multimodal_text", parts=["Look", None, image]))),
        "2": ("1", said(of("thoughts", thoughts=[{"summary": "S", "content": "C"}]), "assistant")),
        "3": (
            "2",
            said(of("code", language="python", text="1+1"), "assistant", recipient="python"),
        ),
        "4": (
            "3",
            said(of("execution_output", text="2"), "tool")
            | {"author": {"role": "tool", "name": "python"}},
        ),
        "5": ("4", said(of("code", language="sh", text="ls"), "assistant")),
        "6": ("5", said(of("brand_new", what=[1]), "assistant", status="in_progress")),
        "7": ("6", said(of("model_editable_context", model_set_context="x"), "assistant")),
        "8": ("7", said("Hidden", metadata={"is_visually_hidden_from_conversation": True})),
        "9": ("8", said("\ue200cite\ue202\r\n\u2028", "assistant")),
    }
    write(file, [chatgpt(nodes, title="x" * 256, current_node="gone")])
    report = bring_in(file)
    assert report.skipped["hidden"] == 2
    row = conversation_of("x" * 255)
    assert row.metadata
    assert row.metadata["import"]["title"] == "x" * 256
    parts = [message.content for message in rows_of(row.id)]
    assert parts == [
        [{"type": "text", "text": "Look"}, {"type": "image", **image}],
        [
            {
                "type": "reasoning",
                "text": "S\n\nC",
                "content_type": "thoughts",
                "thoughts": [{"summary": "S", "content": "C"}],
            }
        ],
        [
            {
                "type": "tool_call",
                "id": "3",
                "name": "python",
                "arguments": "1+1",
                "content_type": "code",
                "language": "python",
            }
        ],
        [
            {
                "type": "tool_result",
                "call_id": "3",
                "name": "python",
                "output": "2",
                "content_type": "execution_output",
            }
        ],
        [{"type": "code", "content_type": "code", "language": "sh", "text": "ls"}],
        [{"type": "brand_new", "content_type": "brand_new", "what": [1]}],
        "\ue200cite\ue202\r\n\u2028",
    ]
    statuses = [message.status for message in rows_of(row.id)]
    assert statuses == ["completed"] * 5 + ["incomplete", "completed"]
    assert rows_of(row.id)[-1].id == row.last_message_id  # the pointer dangles: the newest leaf
    again = bring_in(file, keeps_hidden=True)
    assert (again.extended, again.messages) == (1, 2)
    assert rows_of(row.id)[-1].metadata["import"]["hidden"] is True


def test_times_never_go_back_on_a_path_and_never_lie_ahead(file: Path):
    nodes = {
        "1": (None, said("no time")),
        "2": ("1", said("in milliseconds", time=(SECONDS + 5) * 1000 - SECONDS)),
        "3": ("2", said("before its parent", time=1)),
        "4": ("3", said("in the future", time=1e10)),
    }
    write(file, [chatgpt(nodes)])
    bring_in(file)
    rows = rows_of(conversation_of("Planning").id)
    assert [row.created_at for row in rows[:3]] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:25.000Z",
        "2023-11-14T22:13:25.001Z",
    ]
    assert "2026" <= rows[3].created_at[:4] < "2100"
    assert rows[2].metadata["import"]["time"] == (SECONDS + 1) * 1000


@pytest.mark.parametrize(
    ("told", "time"),
    [
        (1_712_011_012.345, 1_712_011_012_345),
        ("1712011012.345", 1_712_011_012_345),
        ({"$date": {"$numberLong": "1712011012345"}}, 1_712_011_012_345),  # no day of 1712
        ({"$date": "2024-04-01T22:36:52.345Z"}, 1_712_011_012_345),
        ("2024-04-01", 1_711_929_600_000),
        ("inf", None),
        ("never", None),
    ],
    ids=str,
)
def test_a_time_has_any_form(told: Any, time: int | None):
    assert milliseconds(told) == time


def test_circles_are_opened_and_long_chains_are_no_trouble(file: Path):
    circle = {"1": ("3", said("1")), "2": ("1", said("2")), "3": ("2", said("3"))}
    chain = {str(n): (str(n - 1) if n else None, said(str(n))) for n in range(3000)}
    write(file, [chatgpt(circle, "a", "Circle"), chatgpt(chain, "b", "Chain")])
    assert bring_in(file).messages == 3003
    assert tree_of("Circle") == [
        ("user", "1", None),
        ("user", "2", "1"),
        ("user", "3", "2"),
        ("leaf", "3"),
    ]
    assert tree_of("Chain")[-1] == ("leaf", "2999")


def test_what_cannot_be_stored_is_replaced_and_counted(file: Path):
    text = json.dumps([chatgpt({"1": (None, said("a\0b \ud83d c 😀"))})])
    file.write_text(text.replace('"metadata": {}', '"metadata": {"score": NaN}'))
    report = bring_in(file)
    assert report.cleaned == 3
    assert tree_of("Planning")[0] == ("user", "a\ufffdb \ufffd c 😀", None)


def test_claudes_blocks_and_pasted_texts(file: Path):
    def message(id: str, sender: str, **fields: Any) -> dict[str, Any]:
        made = f"2024-05-01T10:00:0{id}.123456Z"
        return {"uuid": id, "sender": sender, "text": "", "created_at": made, **fields}

    call = {"type": "tool_use", "id": None, "name": "web", "input": {"q": 1}}
    result = {
        "type": "tool_result",
        "tool_use_id": None,
        "name": "web",
        "content": [],
        "is_error": False,
    }
    messages = [
        message(
            "1",
            "human",
            content=[],
            text="Hello",
            parent_message_uuid="00000000-0000-4000-8000-000000000000",
            attachments=[{"file_name": "a.txt", "extracted_content": "pasted"}],
            files=[{"file_uuid": "f", "file_name": "b.png"}],
        ),
        message(
            "2",
            "assistant",
            content=[
                {"type": "thinking", "thinking": "Hm", "start_timestamp": "x"},
                call,
                result,
                {"type": "text", "text": "Hi", "citations": []},
            ],
            parent_message_uuid="1",
        ),
        message(
            "3",
            "human",
            content=[{"type": "text", "text": "Plain", "citations": []}],
            parent_message_uuid="2",
        ),
        message("4", "human", content=[], parent_message_uuid="3"),
    ]
    named = {"uuid": "c", "name": "Talk", "created_at": "2024-05-01T10:00:00Z"}
    empty = {"uuid": "e", "name": "", "created_at": "2024-05-01T10:00:00Z", "chat_messages": []}
    write(file, [empty, {**named, "chat_messages": messages}])
    report = bring_in(file)
    assert (report.created, report.messages, report.attachments_not_in_the_file) == (2, 3, 1)
    assert report.skipped["empty"] == 1
    question = [
        {"type": "text", "text": "Hello"},
        {"type": "file", "name": "a.txt", "text": "pasted"},
        {"type": "file", "id": "f", "name": "b.png"},
    ]
    answer = [
        {"type": "reasoning", "text": "Hm"},
        {"type": "tool_call", "id": "2:1", "name": "web", "arguments": {"q": 1}},
        {"type": "tool_result", "call_id": "2:1", "name": "web", "output": [], "is_error": False},
        {"type": "text", "text": "Hi"},
    ]
    assert tree_of("Talk") == [
        ("user", question, None),
        ("assistant", answer, question),
        ("user", "Plain", answer),
        ("leaf", "Plain"),
    ]


def test_openwebuis_answers_of_several_models_are_siblings(file: Path):
    def message(id: str, parent: str | None, role: str, content: Any, **fields: Any) -> dict:
        return {
            "id": id,
            "parentId": parent,
            "role": role,
            "content": content,
            "timestamp": SECONDS,
            **fields,
        }

    history = {
        "a2": message("a2", "q", "assistant", None, error={"content": "Too long"}, modelIdx=1),
        "q": message(
            "q",
            None,
            "user",
            "Which?",
            files=[{"type": "image", "url": "data:image/png;base64,AA"}],
        ),
        "a1": message(
            "a1", "q", "assistant", "One", done=False, modelIdx=0, annotation={"rating": 1}
        ),
    }
    chat = {"history": {"currentId": "gone", "messages": history}, "models": ["m"]}
    write(
        file,
        [
            {
                "id": "c",
                "user_id": "u",
                "title": "Models",
                "chat": chat,
                "created_at": SECONDS,
                "pinned": True,
                "meta": {"tags": ["work", " work ", ""]},
                "folder_id": "f",
            },
            {"id": "d", "user_id": "v", "title": "Another's", "chat": chat},
        ],
    )
    report = bring_in(file)
    assert [failed["id"] for failed in report.failed] == ["d"]
    question = [
        {"type": "text", "text": "Which?"},
        {"type": "image", "url": "data:image/png;base64,AA"},
    ]
    assert tree_of("Models") == [
        ("user", question, None),
        ("assistant", "Too long", question),
        ("assistant", "One", question),
        ("leaf", "One"),
    ]
    row = conversation_of("Models")
    assert (row.is_pinned, row.tags) == (True, ["work"])
    assert row.metadata
    assert row.metadata["import"]["folder_id"] == "f"
    assert [message.status for message in rows_of(row.id)] == ["completed"] + ["incomplete"] * 2


def test_an_old_chat_of_openwebui_is_the_list_of_its_messages(file: Path):
    said_there = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    write(file, [{"id": "c", "title": "Old", "chat": {"messages": said_there}}])
    bring_in(file)
    assert tree_of("Old") == [("user", "1", None), ("assistant", "2", "1"), ("leaf", "2")]


def librechat(id: str, parent: str, is_users: bool, text: str, **fields: Any) -> dict[str, Any]:
    made = f"2024-05-01T10:00:0{id}.000Z"
    return {
        "messageId": id,
        "parentMessageId": parent,
        "isCreatedByUser": is_users,
        "text": text,
        "createdAt": made,
        **fields,
    }


@pytest.mark.parametrize("key", ["messages", "messagesTree"])
def test_librechats_nested_messages_keep_the_children_of_empty_ones(file: Path, key: str):
    tool = {"id": "t", "name": "web", "args": "{}", "output": "42", "progress": 1}
    content = [
        {"type": "think", "think": "Hm"},
        {"type": "text", "text": {"value": "Yes"}},
        {"type": "tool_call", "tool_call": tool},
    ]
    answer = librechat("3", "2", False, "", content=content, unfinished=True)
    empty = librechat("2", "1", False, "", children=[answer])
    root = librechat("1", ZERO, True, "Hello", children=[empty])
    write(
        file,
        {
            "conversationId": "c",
            "title": "Nested",
            "exportAt": "10:00:00",
            "recursive": True,
            key: [root],
        },
    )
    report = bring_in(file)
    assert report.skipped["empty"] == 1
    parts = [
        {"type": "reasoning", "text": "Hm"},
        {"type": "text", "text": "Yes"},
        {"type": "tool_call", "id": "t", "name": "web", "arguments": "{}", "progress": 1},
        {"type": "tool_result", "call_id": "t", "name": "web", "output": "42", "is_error": False},
    ]
    assert tree_of("Nested") == [
        ("user", "Hello", None),
        ("assistant", parts, "Hello"),
        ("leaf", parts),
    ]
    assert rows_of(conversation_of("Nested").id)[1].status == "incomplete"
    assert conversation_of("Nested").created_at == "2024-05-01T10:00:01.000Z"


def test_librechats_messages_may_be_nested_a_thousand_deep(file: Path):
    depth = 1500 if READS_DEEP else 200
    opened = "".join(
        f'{{"messageId": "{n}", "isCreatedByUser": true, "text": "{n}", "children": ['
        for n in range(depth)
    )
    nested = f"[{opened}{']}' * depth}]"
    file.write_text(f'{{"conversationId": "c", "title": "Deep", "messages": {nested}}}')
    limit = sys.getrecursionlimit()
    assert bring_in(file).messages == depth
    assert tree_of("Deep")[-2] == ("user", str(depth - 1), str(depth - 2))
    assert sys.getrecursionlimit() == limit


def test_openais_items_are_a_line_and_calls_stay_items(file: Path):
    call = {"type": "function_call", "id": "fc_1", "call_id": "k", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "k", "output": "4"}
    write(
        file,
        (
            {
                "object": "conversation",
                "id": "conv_1",
                "created_at": SECONDS,
                "metadata": {"title": "Items", "topic": "t"},
            },
            {"role": "developer", "content": "Be brief", "phase": "p"},
            {
                "type": "message",
                "id": "msg_1",
                "role": "user",
                "content": [{"type": "input_text", "text": "2+2?"}],
            },
            call,
            output,
            {
                "type": "message",
                "id": "msg_2",
                "role": "assistant",
                "status": "incomplete",
                "content": [{"type": "output_text", "text": "4", "annotations": [{"a": 1}]}],
            },
            {
                "object": "conversation",
                "id": "conv_2",
                "created_at": SECONDS + 1,
                "metadata": {"title": "More"},
            },
            {"role": "user", "content": "Hi"},
        ),
    )
    assert bring_in(file).created == 2
    cited = [{"type": "output_text", "text": "4", "annotations": [{"a": 1}]}]
    assert tree_of("Items") == [
        ("system", "Be brief", None),
        ("user", "2+2?", "Be brief"),
        ("assistant", [call], "2+2?"),
        ("tool", [output], [call]),
        ("assistant", cited, [output]),
        ("leaf", cited),
    ]
    row = conversation_of("Items")
    assert row.metadata
    assert row.metadata["topic"] == "t"
    rows = rows_of(row.id)
    assert rows[0].metadata["item"] == {"role": "developer", "phase": "p"}
    assert [message.content_type for message in rows] == ["text", "text", "item", "item", "parts"]
    assert [message.created_at[-5:] for message in rows] == [f".00{n}Z"[-5:] for n in range(5)]
    assert rows[-1].status == "incomplete"


def test_ui_messages_are_one_line_a_file_or_an_object(file: Path):
    parts = [
        {"type": "step-start"},
        {"type": "tool-clock", "toolCallId": "1", "state": "output-available"},
    ]
    told = [
        {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]},
        {"id": "2", "role": "assistant", "parts": parts, "metadata": {"model": "m"}},
    ]
    write(file, [{"id": "c", "title": "Chat", "messages": told}])
    bring_in(file)
    assert tree_of("Chat") == [
        ("user", told[0]["parts"], None),
        ("assistant", parts, told[0]["parts"]),
        ("leaf", parts),
    ]
    assert rows_of(conversation_of("Chat").id)[1].metadata["model"] == "m"
    write(file, told)
    report = bring_in(file, user_id="u")
    assert (report.found, report.created, report.messages) == (1, 1, 2)


def test_fine_tuning_lines_and_sharegpt_have_no_ids_and_are_told_apart(file: Path):
    calls = [{"id": "k", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    tuned = {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "k", "content": "4"},
            {"role": "assistant", "content": "4", "weight": 1},
        ]
    }
    write(file, (tuned, tuned, {"messages": [{"role": "user", "content": "Other"}]}))
    assert (bring_in(file).created, bring_in(file).unchanged) == (3, 3)
    shared = {
        "conversations": [
            {"from": "human", "value": "2+2?"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
            {"from": "observation", "value": "4"},
            {"from": "gpt", "value": "4"},
            {"from": "gpt", "value": ""},
        ]
    }
    for shape in ([shared, shared], (shared, shared)):
        write(file, shape)
        assert (report := bring_in(file)).found == 2
    assert report.skipped["empty"] == 0  # it was unchanged, so it was not read


def test_groks_responses_and_llamacpps_sessions(file: Path):
    grok = {
        "conversations": [
            {
                "conversation": {"id": "c", "title": "Grok", "create_time": "2024-05-01T10:00:00Z"},
                "responses": [
                    {
                        "response": {
                            "_id": "1",
                            "message": "Hi",
                            "sender": "HUMAN",
                            "create_time": {"$date": {"$numberLong": "1714557600000"}},
                        }
                    },
                    {
                        "response": {
                            "_id": "2",
                            "message": "Yes",
                            "sender": "ASSISTANT",
                            "model": "g",
                            "parent_response_id": "1",
                        }
                    },
                    {
                        "response": {
                            "_id": "3",
                            "message": "No",
                            "sender": "assistant",
                            "parent_response_id": "1",
                        }
                    },
                ],
            }
        ]
    }
    write(file, grok)
    bring_in(file)
    assert tree_of("Grok") == [
        ("user", "Hi", None),
        ("assistant", "Yes", "Hi"),
        ("assistant", "No", "Hi"),
        ("leaf", "No"),
    ]

    def message(id: str, parent: str | None, role: str, content: str, **rest: Any) -> dict:
        told = {"id": id, "convId": "s", "role": role, "content": content, "parent": parent}
        return {"type": "message", "message": {**told, "timestamp": SECONDS * 1000, **rest}}

    write(
        file,
        (
            {"type": "session", "id": "s", "name": "Llama", "currNode": "a"},
            message("r", None, "system", "", type="root"),
            message("q", "r", "user", "Hi"),
            message("a", "q", "assistant", "1"),
            message("b", "q", "assistant", "2"),
        ),
    )
    bring_in(file)
    assert tree_of("Llama") == [
        ("user", "Hi", None),
        ("assistant", "1", "Hi"),
        ("assistant", "2", "Hi"),
        ("leaf", "1"),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"chunkedPrompt": {"chunks": []}}, "AI Studio"),
        ([{"header": "Gemini Apps", "title": "x"}], "single prompts"),
        ([{"id": 1, "steps": []}], "Chainlit"),
        ({"some": "object"}, "nothing in it is known"),
        ([], "nothing in it is known"),
    ],
)
def test_what_is_not_read_is_refused_with_its_reason(file: Path, value: Any, reason: str):
    with pytest.raises(Unreadable, match=reason):
        bring_in(write(file, value))


def test_a_file_without_messages_fails(file: Path):
    report = bring_in(write(file, {"conversationId": "c", "messages": []}))
    assert report.failed[0] == {"id": "c", "why": "it has no messages"}
    assert report.exit_status == 2


def test_a_bad_conversation_is_counted_with_its_reason_and_the_others_are_in(file: Path):
    good = chatgpt({"1": (None, said("Hi"))}, "good")
    bad = [
        {"conversation_id": "bad", "current_node": "x", "create_time": 1, "mapping": it}
        for it in (None, [])
    ]
    write(file, [bad[0], {**bad[1], "conversation_id": "worse"}, good])
    report = bring_in(file)
    assert (report.created, report.exit_status) == (1, 1)
    assert report.failed == [
        {"id": "bad", "why": "it has no mapping"},
        {"id": "worse", "why": "it has no mapping"},
    ]


def test_a_data_url_that_is_too_large_is_left_out_and_a_text_is_not(file: Path):
    url = "data:image/png;base64," + "A" * 6_000_000
    history = {
        "1": {
            "id": "1",
            "role": "user",
            "content": "Look",
            "files": [{"type": "image", "url": url}],
        },
        "2": {"id": "2", "role": "user", "content": "x" * 6_000_001, "parentId": "1"},
    }
    write(file, [{"id": "c", "title": "Large", "chat": {"history": {"messages": history}}}])
    assert bring_in(file).messages_over_6_mb == 1
    picture, text = rows_of(conversation_of("Large").id)
    assert picture.content[1]["omitted_bytes"] == len(url)
    assert len(text.content) == 6_000_001


STRANGE: list[Any] = [
    {"1": (None, said("x", create_time=1e300, update_time=1e15))},
    {"1": (None, {"author": 1, "content": 2, "metadata": [], "create_time": "soon"})},
    {"1": (None, said({"content_type": "text", "parts": {"a": 1}}))},
    {"1": (None, said({"content_type": [], "parts": ["x"]}))},
    {"1": ([], said("x", "critic", status={}))},
    {"\ud800": ("\0", said("x"))},
]


@pytest.mark.parametrize("nodes", STRANGE)
def test_fields_of_other_types_harm_nobody_else(file: Path, nodes: Any):
    good = chatgpt({"1": (None, said("Hi"))}, "good")
    bad = chatgpt(nodes, "\ud800bad\0" * 100, "Bad", current_node=[], gizmo_id="\ud83d")
    report = bring_in(write(file, [bad, good]))
    assert report.created + len(report.failed) == 2
    assert tree_of("Planning")[0] == ("user", "Hi", None)
    assert bring_in(file).unchanged == report.created


@pytest.mark.skipif(not READS_DEEP, reason="it is refused as a whole")
def test_what_is_nested_too_deep_to_be_stored_fails_alone(file: Path):
    deep = said({"content_type": "new", "x": 1})
    text = json.dumps([chatgpt({"1": (None, deep)}, "deep"), line("Hi")])
    file.write_text(text.replace('"x": 1', f'"x": {"[" * 3000}{"]" * 3000}'))
    report = bring_in(file)
    assert (report.created, [each["id"] for each in report.failed]) == (1, ["deep"])
