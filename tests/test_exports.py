"""Tests exports: of one conversation over HTTP, of all by the command line, and the way back."""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
from click.testing import CliRunner, Result

from db import conversations, messages, streams, transcripts, transfer_commands, trash
from db.__main__ import cli
from db.engine.connect import Store
from db.engine.database import database
from db.lists import newest
from db.messages import Draft
from db.models import Item
from db.scope import EVERYTHING, Scope
from db.settings import settings
from db.startup import open_store
from db.transfer.exporting import FORMATS
from db.transfer.formats import confab
from handlers.exports import ExportQuery, attachment, export_conversation
from handlers.http.caller import Caller

from .support.clients import Api, assert_problem
from .support.exports import bring_in, chatgpt, line, rows_of, said, tree_of, write
from .support.rows import store_rows_of_every_kind
from .support.world import PROJECT, dump

CALL = {"type": "function_call", "call_id": "k", "name": "f", "arguments": '{"a": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "k", "output": "4"}


def run(*arguments: object) -> Result:
    bound = database.obj
    try:
        return CliRunner().invoke(cli, [str(each) for each in arguments])
    finally:
        database.initialize(bound)


@pytest.fixture
def conversation_id() -> str:
    """A conversation with two branches, an item, and parts."""
    id = conversations.start(
        Scope(None, "alice"), PROJECT, "2+2/é", key="k", tags=["sums"], metadata={"a": 1}
    ).id
    question, _ = messages.append(
        EVERYTHING,
        id,
        [Draft("user", "2+2?", client_id="1"), Draft("assistant", "5", "incomplete")],
    )
    parts = [{"type": "text", "text": "It is "}, {"type": "image_url", "image_url": {"url": "u"}}]
    drafts = [
        Draft("assistant", Item([CALL]), parent_id=question.id),
        Draft("tool", Item([OUTPUT])),
        Draft("assistant", parts, metadata={"model": "m"}),
        Draft("assistant", "4"),
    ]
    messages.append(EVERYTHING, id, drafts)
    database.close()
    return id


def everything() -> dict[str, list[Any]]:
    """What an export has to keep: all but the numbers of changes, the events and the keys."""
    rows = dump()
    known = [conversations.find(EVERYTHING, row.id) for row in newest(EVERYTHING, limit=1000).rows]
    return {
        "conversation": [row._replace(version=0, activity="", is_branched=False) for row in known],
        "message": [
            row._replace(position=0, revision=0, parent=None, streamed_from=None)
            for one in known
            for row in rows_of(one.id)
        ],
        "client_id": [(row[0], row[1], row[2]) for row in rows["client_id"]],
    }


@pytest.fixture
def empty(tmp_path: Path, configure: Callable[..., None]) -> Callable[[], None]:
    """`empty()` makes the test go on with an empty database file."""

    def switch() -> None:
        configure(database_url=f"sqlite:///{tmp_path}/empty{len(list(tmp_path.iterdir()))}.db")
        database.close()
        database.obj.close_all()
        open_store(settings())

    return switch


def test_jsonl_of_everything_is_the_same_after_import_and_export(
    empty: Callable[[], None], conversation_id: str, tmp_path: Path
):
    store_rows_of_every_kind()
    write(
        tmp_path / "tree.json",
        [
            chatgpt(
                {
                    "q": (None, said("Q", time=0)),
                    "a": ("q", said("A", time=1)),
                    "b": ("q", said("B", time=1)),
                },
                current_node="a",
            )
        ],
    )
    bring_in(tmp_path / "tree.json")
    before = everything()
    assert run("export", tmp_path / "1.jsonl").exit_code == 0
    empty()
    report = bring_in(tmp_path / "1.jsonl")
    assert report.failed == []
    settled = [
        row._replace(status="incomplete") if row.status == "in_progress" else row
        for row in before["message"]
    ]
    after = everything()
    assert after["conversation"] == before["conversation"]
    for ours, theirs in zip(after["message"], settled, strict=True):
        assert ours == theirs
    named = [row for row in after["message"] if row.client_id is not None]
    kept = {(row.conversation_id, row.client_id, row.id) for row in named}
    assert set(after["client_id"]) == kept
    assert kept <= set(before["client_id"])
    assert run("export", tmp_path / "2.jsonl").exit_code == 0
    first, second = ((tmp_path / f"{n}.jsonl").read_bytes() for n in (1, 2))
    assert second == first.replace(b'"status": "in_progress"', b'"status": "incomplete"')
    # The items are still items.
    assert [row.content_type for row in rows_of(conversation_id)].count("item") == 2


@pytest.mark.parametrize("format", ["jsonl", "chatgpt", "openwebui", "openai"])
def test_what_was_exported_here_is_unchanged_when_it_is_imported(
    either_store: Store, conversation_id: str, tmp_path: Path, format: str
):
    bring_in(
        write(tmp_path / "in.json", [line("Hi", "Hello")]), project_id=PROJECT, user_id="alice"
    )
    before = everything()
    assert run("export", tmp_path / "out", "--format", format, "--user", "alice").exit_code == 0
    for _ in range(2):
        report = bring_in(tmp_path / "out", project_id=PROJECT, user_id="alice")
        assert (report.failed, report.unchanged) == ([], 2)
    assert everything() == before


TREE = {
    "system": (None, said("", "system")),
    "q": ("system", said("Question", time=1)),
    "a": ("q", said({"content_type": "thoughts", "thoughts": [{"content": "Hm"}]}, "assistant", 2)),
    "c": (
        "a",
        said(
            {"content_type": "code", "language": "unknown", "text": "x"},
            "assistant",
            3,
            recipient="web",
        ),
    ),
    "r": ("c", said({"content_type": "execution_output", "text": "y"}, "tool", 3)),
    "w": (
        "c",
        said({"content_type": "code", "text": "x", "id": "i"}, "assistant", 3, recipient="web"),
    ),
    "b": (
        "q",
        said(
            {
                "content_type": "multimodal_text",
                "parts": ["See", {"content_type": "image_asset_pointer", "width": 1}],
            },
            "assistant",
            9,
        ),
    ),
    "e": ("r", said({"content_type": "system_error", "name": "E", "text": "z"}, "tool", 10)),
    "f": ("e", said({"content_type": "brand_new", "x": 1}, "assistant", 11, status="error")),
}
HISTORY = {
    "q": {
        "id": "q",
        "parentId": None,
        "role": "user",
        "content": "Q",
        "timestamp": 1_700_000_000,
        "files": [{"type": "file", "id": "f", "url": "u", "name": "n"}],
    },
    "a": {
        "id": "a",
        "parentId": "q",
        "role": "assistant",
        "content": "A",
        "timestamp": 1_700_000_001,
        "model": "m",
    },
    "b": {
        "id": "b",
        "parentId": "q",
        "role": "assistant",
        "content": "B",
        "timestamp": 1_700_000_001,
        "done": False,
    },
}
ITEMS = (
    {
        "object": "conversation",
        "id": "conv_1",
        "created_at": 1_700_000_000,
        "metadata": {"title": "T", "x": "y"},
    },
    {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "Be brief"}],
        "id": "m1",
    },
    {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_image", "image_url": "u"}],
        "id": "m2",
    },
    {**CALL, "id": "fc_1"},
    {**OUTPUT, "id": "fco_1"},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "4", "annotations": [], "logprobs": []}],
        "id": "m3",
    },
)
IN_OWN_SHAPE: dict[str, Any] = {
    "chatgpt": [
        chatgpt(TREE, title="T", current_node="b", gizmo_id="g", update_time=1_700_000_099)
    ],
    "openwebui": [
        {
            "id": "c",
            "title": "T",
            "pinned": True,
            "created_at": 1_700_000_000,
            "meta": {"tags": ["t"]},
            "chat": {"models": ["m"], "history": {"currentId": "a", "messages": HISTORY}},
        }
    ],
    "openai": ITEMS,
}


@pytest.mark.parametrize("format", IN_OWN_SHAPE)
def test_import_after_export_after_import_gives_the_same_tree(
    empty: Callable[[], None], tmp_path: Path, format: str
):
    write(tmp_path / "in", IN_OWN_SHAPE[format])
    bring_in(tmp_path / "in")
    before, tree = everything(), tree_of("T")
    assert run("export", tmp_path / "out", "--format", format).exit_code == 0
    assert bring_in(tmp_path / "out").unchanged == 1
    empty()
    assert bring_in(tmp_path / "out").created == 1
    assert tree_of("T") == tree
    after = everything()
    told = [(row.id, row.created_at, row.status, row.role) for row in after["message"]]
    assert told == [(row.id, row.created_at, row.status, row.role) for row in before["message"]]
    assert [row.id for row in after["conversation"]] == [row.id for row in before["conversation"]]


def test_jsonl_of_another_owner_gets_ids_of_its_own(conversation_id: str, tmp_path: Path):
    run("export", tmp_path / "out.jsonl")
    report = bring_in(tmp_path / "out.jsonl", user_id="bob")
    assert (report.created, report.messages) == (1, 6)
    (copy,) = newest(Scope(PROJECT, "bob")).rows
    assert copy.id != conversation_id
    assert [row.content for row in rows_of(copy.id)] == [
        row.content for row in rows_of(conversation_id)
    ]
    assert not {row.id for row in rows_of(copy.id)} & {row.id for row in rows_of(conversation_id)}
    assert bring_in(tmp_path / "out.jsonl", user_id="bob").unchanged == 1


def test_fine_tuning_lines_have_the_active_branch_and_what_is_completed(
    conversation_id: str, tmp_path: Path
):
    run("export", tmp_path / "out.jsonl", "--format", "finetune")
    (row,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    function = {"name": "f", "arguments": '{"a": 1}'}
    assert row["messages"][:3] == [
        {"role": "user", "content": "2+2?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "k", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "4", "tool_call_id": "k"},
    ]
    assert "5" not in [message["content"] for message in row["messages"]]


def test_a_conversation_of_which_a_model_would_be_told_nothing_is_no_line(tmp_path: Path):
    conversations.start(EVERYTHING, PROJECT, "Empty")
    full = conversations.start(EVERYTHING, PROJECT, "Full").id
    messages.append(EVERYTHING, full, [Draft("user", "Hi")])
    file = tmp_path / "lines.jsonl"
    assert run("export", file, "--format", "finetune").exit_code == 0
    assert [json.loads(text) for text in file.read_text().splitlines()] == [
        {"messages": [{"role": "user", "content": "Hi"}]}
    ]


@pytest.mark.parametrize("metadata", [None, {}, {"a": {}}], ids=str)
def test_metadata_comes_back_as_it_was(tmp_path: Path, metadata: Any):
    id = conversations.start(EVERYTHING, PROJECT, metadata=metadata).id
    file = tmp_path / "all.jsonl"
    assert run("export", file).exit_code == 0
    conversations.remove(EVERYTHING, id)
    trash.purge(EVERYTHING, id)
    assert bring_in(file, restore=True).created == 1
    assert conversations.find(EVERYTHING, id).metadata == metadata


def test_nothing_deleted_is_in_an_export_and_the_active_branch_may_be_all_of_it(
    conversation_id: str, tmp_path: Path
):
    gone = conversations.start(EVERYTHING, PROJECT, "Gone").id
    conversations.remove(EVERYTHING, gone)
    messages.remove(EVERYTHING, conversation_id, rows_of(conversation_id)[-1].id)
    run("export", tmp_path / "all")
    run("export", tmp_path / "active", "--branch", "active")
    whole, active = ((tmp_path / name).read_text() for name in ("all", "active"))
    assert "Gone" not in whole
    contents = [json.loads(each).get("content") for each in whole.splitlines()]
    assert "4" not in contents
    assert "5" in contents
    assert len(active.splitlines()) == 5
    assert run("export", "-", "--project", "other").stdout == ""


def test_an_export_replaces_no_file_unless_it_is_forced(tmp_path: Path):
    (file := tmp_path / "out").write_text("mine")
    result = run("export", file)
    assert (result.exit_code, file.read_text()) == (1, "mine")
    assert "--force" in result.stderr
    assert run("export", file, "--force").exit_code == 0
    assert file.read_text() == ""
    result = run("export", tmp_path / "nowhere" / "out")
    assert (result.exit_code, "cannot be written" in result.stderr) == (1, True)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_pipe_gets_the_export_and_is_not_replaced(conversation_id: str, tmp_path: Path):
    os.mkfifo(pipe := tmp_path / "pipe")
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.append(pipe.read_text()))
    reader.start()
    assert run("export", pipe, "--force").exit_code == 0
    reader.join()
    assert told[0].startswith('{"type": "conversation"')
    assert pipe.is_fifo()


def test_a_full_disk_is_one_sentence(
    conversation_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(click.ClickException) as raised, transfer_commands._printed() as printed:
            printed.write("x")
    assert raised.value.message == "The output cannot be written: No space left on device."


def test_what_is_being_written_is_exported_as_far_as_it_is(tmp_path: Path, anyone: Caller):
    id = conversations.start(EVERYTHING, PROJECT, "Live").id
    (row,) = messages.append(EVERYTHING, id, [Draft("assistant", "So ", "in_progress")])
    streams.append(EVERYTHING, id, row.id, 3, "far")
    run("export", tmp_path / "out")
    assert json.loads((tmp_path / "out").read_text().splitlines()[1])["content"] == "So far"
    assert bring_in(tmp_path / "out").unchanged == 1
    text = export_conversation(anyone, id, ExportQuery()).body
    assert "## Assistant (in progress)\n\nSo far" in text


def grown_with_older_times(path: Path) -> None:
    """An imported conversation whose positions do not follow its times."""
    nodes = {"q": (None, said("Q", time=5)), "a": ("q", said("A", "assistant", 6))}
    bring_in(write(path, [chatgpt(nodes)]))
    nodes |= {"x": (None, said("X", time=1)), "y": ("x", said("Y", "assistant", 2))}
    assert bring_in(write(path, [chatgpt(nodes)])).extended == 1


def test_jsonl_keeps_an_order_that_is_not_that_of_the_times(
    empty: Callable[[], None], tmp_path: Path
):
    grown_with_older_times(tmp_path / "in")
    run("export", tmp_path / "1.jsonl")
    empty()
    assert bring_in(tmp_path / "1.jsonl").failed == []
    run("export", tmp_path / "2.jsonl")
    whole = (tmp_path / "1.jsonl").read_text()
    assert (tmp_path / "2.jsonl").read_text() == whole
    # Parents that are younger, and lines in another order: it is read all the same.
    head, *lines = whole.splitlines()
    empty()
    (tmp_path / "3.jsonl").write_text("\n".join([head, *reversed(lines)]))
    assert bring_in(tmp_path / "3.jsonl").created == 1
    assert {row[1:] for row in tree_of("Planning")[:-1]} == {
        ("Q", None), ("A", "Q"), ("X", None), ("Y", "X")
    }  # fmt: skip


@pytest.mark.parametrize("format", ["jsonl", "chatgpt", "openwebui", "openai"])
def test_what_was_added_here_to_an_import_is_not_doubled(tmp_path: Path, format: str):
    write(tmp_path / "in", IN_OWN_SHAPE.get(format, [line("Hi", "Hello", title="T")]))
    bring_in(tmp_path / "in", project_id=PROJECT)
    (row,) = newest(EVERYTHING).rows
    # A message that says it is another one, and one with the shape of no export.
    copied = {"import": {"format": format, "id": "q", "content_type": "code", "children": 5}}
    drafts = [
        Draft("user", "Local"),
        Draft("user", "Copied", metadata=copied),
        Draft("assistant", [{"type": "tool_call"}], metadata=copied),
        Draft("assistant", Item([{"type": ["no", "text"]}])),
    ]
    messages.append(EVERYTHING, row.id, drafts)
    transcripts.fork(EVERYTHING, row.id, title="Fork")
    note = {"import": {"format": format, "id": "c", "mapping": 5, "children": 5, "meta": 5}}
    started = Scope(PROJECT, None)
    other = transcripts.start(started, PROJECT, drafts, title="Other", metadata=note)
    assert other.conversation.id
    assert run("export", tmp_path / "out", "--format", format).exit_code == 0
    before = everything()
    assert bring_in(tmp_path / "out", project_id=PROJECT).unchanged == 3
    assert everything() == before


def test_a_conversation_that_cannot_be_written_is_reported_and_the_others_are_written(
    conversation_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bad = conversations.start(EVERYTHING, PROJECT, "Bad").id
    record = confab.conversation_record

    def one_is_bad(row: Any) -> Any:
        return {}["type"] if row.id == bad else record(row)

    monkeypatch.setattr(confab, "conversation_record", one_is_bad)
    result = run("export", tmp_path / "out")
    assert (result.exit_code, bad in result.stderr) == (1, True)
    assert len((tmp_path / "out").read_text().splitlines()) == 7


# Over HTTP


@pytest.mark.parametrize(
    ("format", "media_type", "extension"),
    [
        ("markdown", "text/markdown", "md"),
        ("jsonl", "application/x-ndjson", "jsonl"),
        ("openai", "application/x-ndjson", "jsonl"),
        ("chatgpt", "application/json", "json"),
    ],
)
def test_a_conversation_is_a_file(
    api: Api, conversation_id: str, tmp_path: Path, format: str, media_type: str, extension: str
):
    before = everything()
    answer = api.get(f"/api/v1/conversations/{conversation_id}/export", format=format)
    assert answer.status == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == (
        f"attachment; filename=\"2_2.{extension}\"; filename*=UTF-8''2%2B2%20%C3%A9.{extension}"
    )
    if format != "markdown":
        (file := tmp_path / "out").write_bytes(answer.body)
        assert bring_in(file, project_id=PROJECT, user_id="alice").unchanged == 1
        assert everything() == before


def test_markdown_is_for_people(anyone: Caller, conversation_id: str):
    text = export_conversation(anyone, conversation_id, ExportQuery()).body
    head, *said_there = text.split("\n\n## ")
    assert head.startswith("# 2+2/é\n\n*20")
    assert said_there == [
        "User\n\n2+2?",
        'Assistant\n\nCall of `f`:\n\n```\n{"a": 1}\n```',
        "Tool\n\nResult:\n\n```\n4\n```",
        "Assistant\n\nIt is \n\n*[image_url]*",
        "Assistant\n\n4\n",
    ]


@pytest.mark.parametrize(
    ("title", "plain", "name"),
    [
        (None, "conversation", "conversation"),
        ("../../etc/passwd", "etc passwd", "etc passwd"),
        ('a"b\r\nSet-Cookie: x', "a b Set-Cookie x", "a b Set-Cookie  x"),
        ("日本語", "conversation", "日本語"),
        ("...", "conversation", "conversation"),
        ("x" * 255, "x" * 100, "x" * 100),
        ("\u202egpj.exe", "gpj.exe", "gpj.exe"),
    ],
)
def test_a_file_name_is_safe_whatever_the_title(title: str | None, plain: str, name: str):
    header = attachment(title, "md")
    told, _, encoded = header.partition("; filename*=UTF-8''")
    assert header.isascii()
    assert header.isprintable()
    assert told.split() == f'attachment; filename="{plain}.md"'.split()
    assert unquote(encoded).split() == f"{name}.md".split()


def test_an_unknown_format_or_conversation_is_refused(api: Api, conversation_id: str):
    path = f"/api/v1/conversations/{conversation_id}/export"
    assert_problem(api.get(path, format="pdf"), 422, "invalid")
    assert_problem(api.get(path.replace(conversation_id, PROJECT)), 404, "conversation-not-found")
    assert set(FORMATS) == {"jsonl", "openai", "chatgpt", "openwebui", "finetune", "markdown"}
