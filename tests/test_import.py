"""Tests imports that are repeated: of what grew, was changed here, or was killed, beside others."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from playhouse.test_utils import count_queries

from db import conversations, erasure, events, messages, trash
from db.__main__ import cli
from db.engine.connect import Store
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.errors import StreamFinished, Unavailable
from db.lists import ACTIVITY, newest
from db.messages import Draft
from db.models import Imported, Message
from db.scope import EVERYTHING, Scope
from db.settings import SettingsError
from db.startup import open_once
from db.transfer import importing
from db.transfer.arrivals import Arrival
from db.transfer.imported_ids import imported_id, tail_of
from db.transfer.importing import LARGE_BYTES, Wanted, import_paths
from db.transfer.report import Report
from db.transfer.storing import Outcome
from db.transfer.storing_beside import Storer
from db.upkeep import schema

from .support.clients import Api
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
from .support.readers import Reader
from .support.world import PROJECT, dump
from .support.writer import Writer

ROOT = Path(__file__).parent.parent
NIL = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export.json"


def contents_of(title: str = "Planning") -> list[Any]:
    return [row.content for row in rows_of(conversation_of(title).id)]


def test_ids_are_uuids_of_the_source_and_its_time(either_store: Store, file: Path):
    bring_in(write(file, [line("Hi", "Hello")]), project_id="p", user_id="u")
    row = conversation_of("Planning")
    assert (row.project_id, row.user_id) == ("p", "u")
    assert row.id == imported_id(SECONDS * 1000, tail_of("chatgpt", "p", "u", "c"))
    first, second = rows_of(row.id)
    assert second.id == imported_id((SECONDS + 1) * 1000, tail_of("chatgpt", "p", "u", "c", "n1"))
    assert second.id[14] == "7"
    assert (row.activity, row.last_message_id, row.version) == (second.id, second.id, 2)
    assert row.created_at == first.created_at == "2023-11-14T22:13:20.000Z"
    assert row.updated_at == second.updated_at == "2023-11-14T22:13:21.000Z"


def test_two_people_may_import_the_same_file(file: Path):
    write(file, [line("Hi")])
    for user in ("alice", "bob", None):
        assert bring_in(file, user_id=user).created == 1
    assert bring_in(file, user_id="bob").unchanged == 1
    assert Imported.select().count() == 3
    assert len(newest(Scope(NIL, "alice")).rows) == 1


def test_a_second_import_changes_nothing_and_reads_no_message(either_store: Store, file: Path):
    write(file, [line("Hi", "Hello", id=f"c{n}", title=f"T{n}") for n in range(60)])
    assert bring_in(file).created == 60
    before = dump()
    with count_queries(database.obj) as counted:
        report = bring_in(file)
    assert (report.unchanged, report.messages) == (60, 0)
    asked = [query.msg[0] for query in counted.get_queries()]
    assert asked
    assert not any('"message"' in sql for sql in asked)
    assert dump() == before


def test_another_spelling_of_the_same_file_changes_nothing(file: Path):
    bring_in(write(file, [line("Hi", "Hello")]))
    before = dump()
    file.write_text(file.read_text().replace(", ", " ,\n\t"), encoding="utf-8-sig")
    assert bring_in(file).unchanged == 1
    after = dump()
    assert before.pop("imported") != after.pop("imported")
    assert after == before
    with count_queries(database.obj) as counted:
        bring_in(file)
    assert not any('"message"' in query.msg[0] for query in counted.get_queries())


def test_a_conversation_that_occurs_twice_is_there_once(file: Path):
    write(file, [line("Hi"), line("Hi")])
    for is_dry in (True, False):
        report = bring_in(file, is_dry=is_dry)
        assert (report.found, report.created, report.unchanged) == (2, 1, 1)


def test_a_grown_export_adds_what_is_new(either_store: Store, file: Path):
    nodes = {"q": (None, said("Question", time=0)), "a": ("q", said("Answer", "assistant", 1))}
    bring_in(write(file, [chatgpt(nodes)]))
    before = rows_of(conversation_of("Planning").id)
    # The later one has another branch, and is a little older than the other messages.
    nodes["b"] = ("q", said("Other answer", "assistant", 0.5))
    nodes["c"] = ("b", said("More", time=9))
    write(file, [chatgpt(nodes, current_node="c", update_time=SECONDS + 10, title="Renamed")])
    report = bring_in(file)
    assert (report.extended, report.messages, report.unchanged) == (1, 2, 0)
    assert tree_of("Planning") == [
        ("user", "Question", None),
        ("assistant", "Answer", "Question"),
        ("assistant", "Other answer", "Question"),
        ("user", "More", "Other answer"),
        ("leaf", "More"),
    ]
    row = conversation_of("Planning")
    assert rows_of(row.id)[:2] == before
    assert row.updated_at == "2023-11-14T22:13:30.000Z"
    assert newest(EVERYTHING, sort=ACTIVITY).rows[0].activity == row.last_message_id
    assert bring_in(file).unchanged == 1


def test_times_that_a_later_export_tells_otherwise_make_no_new_messages(file: Path):
    nodes = {"1": (None, said("Hi", time=5)), "2": ("1", said("Hello", "assistant", 6))}
    bring_in(write(file, [chatgpt(nodes)]))
    nodes = {"1": (None, said("Hi")), "2": ("1", said("Hello", "assistant"))}
    report = bring_in(write(file, [chatgpt(nodes)]))
    assert (report.unchanged, report.messages) == (1, 0)
    assert contents_of() == ["Hi", "Hello"]


def test_who_has_gone_on_here_keeps_the_branch(file: Path):
    bring_in(write(file, [line("Hi", "Hello")]))
    row = conversation_of("Planning")
    (mine,) = messages.append(EVERYTHING, row.id, [Draft("user", "Mine")])
    bring_in(write(file, [line("Hi", "Hello", "Theirs")]))
    assert tree_of("Planning") == [
        ("user", "Hi", None),
        ("assistant", "Hello", "Hi"),
        ("user", "Mine", "Hello"),
        ("user", "Theirs", "Hello"),
        ("leaf", "Mine"),
    ]
    assert conversation_of("Planning").last_message_id == mine.id


def test_a_follower_learns_of_the_tree_and_its_leaf(file: Path):
    nodes = {
        "q": (None, said("Q", time=0)),
        "a": ("q", said("A", time=1)),
        "b": ("q", said("B", time=2)),
    }
    bring_in(write(file, [chatgpt(nodes, current_node="a")]))
    row = conversation_of("Planning")
    told = events.after(EVERYTHING, row.id, 0)
    assert [event.kind for event in told] == ["message"] * 3 + ["conversation"]
    assert told[-1].data.last_message_id == row.last_message_id
    nodes["c"] = ("a", said("C", time=3))
    nodes["d"] = ("b", said("D", time=4))
    bring_in(write(file, [chatgpt(nodes, current_node="c")]))
    later = events.after(EVERYTHING, row.id, row.version)
    assert [event.kind for event in later] == ["message", "message", "conversation"]
    (leaf,) = [event.data for event in later if event.data.id == later[-1].data.last_message_id]
    assert leaf.content == "C"


# What was changed here


def test_what_was_edited_here_stays_unless_it_is_to_be_updated(either_store: Store, file: Path):
    bring_in(write(file, [line("Hi", "Hello")]))
    id = conversation_of("Planning").id
    first, _ = rows_of(id)
    messages.edit(EVERYTHING, id, first.id, content="Mine")
    assert bring_in(file).unchanged == 1
    report = bring_in(write(file, [line("Hi", "Hello, changed", "More")]))
    assert (report.changed_at_the_source, report.extended) == (1, 1)
    assert contents_of() == ["Mine", "Hello", "More"]
    assert bring_in(file).changed_at_the_source == 1  # it is told until it is settled
    report = bring_in(file, update=True)
    assert (report.updated, report.changed_at_the_source) == (1, 0)
    assert contents_of() == ["Hi", "Hello, changed", "More"]
    assert bring_in(file).unchanged == 1


def test_a_title_that_was_changed_here_stays(file: Path):
    bring_in(write(file, [line("Hi")]))
    conversations.change(EVERYTHING, conversation_of("Planning").id, title="Mine", is_archived=True)
    bring_in(write(file, [line("Hi", "Hello")]), update=True)
    assert conversation_of("Mine").is_archived
    assert contents_of("Mine") == ["Hi", "Hello"]


def test_a_conversation_that_was_deleted_here_stays_deleted(either_store: Store, file: Path):
    bring_in(write(file, [line("Hi", "Hello")]))
    id = conversation_of("Planning").id
    conversations.remove(EVERYTHING, id)
    for times in range(3):
        write(file, [line(*["Hi", "Hello", "More"][: 2 + times])])
        assert bring_in(file).deleted_here == 1
        assert newest(EVERYTHING).rows == []
        if times == 1:
            trash.purge(EVERYTHING, id)
    assert bring_in(file, is_dry=True, restore=True).created == 1
    assert bring_in(file, restore=True).created == 1
    assert contents_of() == ["Hi", "Hello", "More"]
    assert conversation_of("Planning").id == id
    conversations.remove(EVERYTHING, id)
    assert (report := bring_in(file, restore=True)).restored == 1
    assert report.deleted_here == 0
    assert contents_of() == ["Hi", "Hello", "More"]


def test_a_message_that_was_deleted_here_stays_deleted_and_its_children_move_up(
    either_store: Store, file: Path
):
    bring_in(write(file, [line("1", "2", "3")]))
    id = conversation_of("Planning").id
    messages.remove(EVERYTHING, id, rows_of(id)[1].id)
    assert bring_in(file).unchanged == 1
    nodes = line("1", "2", "3", "4")["mapping"]
    nodes["n9"] = {"id": "n9", "parent": "n1", "message": said("Beside 3", time=9)}
    report = bring_in(write(file, [{**line("1"), "mapping": nodes}]))
    assert (report.extended, report.messages) == (1, 2)
    expected = [
        ("user", "1", None),
        ("user", "3", "1"),
        ("assistant", "4", "3"),
        ("user", "Beside 3", "1"),
    ]
    assert tree_of("Planning")[:-1] == expected
    report = bring_in(file, restore=True)
    assert (report.restored, report.messages) == (1, 1)
    assert tree_of("Planning")[:-1] == [
        ("user", "1", None),
        ("assistant", "2", "1"),
        ("user", "3", "2"),
        ("assistant", "4", "3"),
        ("user", "Beside 3", "2"),
    ]
    assert bring_in(file, restore=True).unchanged == 1


@pytest.mark.parametrize("gone", [[0], [2], [0, 1], [1, 2], [0, 1, 2], [0, 2]])
def test_messages_that_were_deleted_come_back_in_their_places(file: Path, gone: list[int]):
    nodes = {
        "a": (None, said("a", time=0)),
        "b": ("a", said("b", time=1)),
        "c": ("a", said("c", time=2)),
        "d": ("b", said("d", time=3)),
    }
    bring_in(write(file, [chatgpt(nodes)]))
    before, id = tree_of("Planning"), conversation_of("Planning").id
    seen = conversation_of("Planning").version
    rows = rows_of(id)
    for number in gone:
        messages.remove(EVERYTHING, id, rows[number].id)
    deleted_at = conversation_of("Planning").version
    assert bring_in(file, restore=True).messages == len(gone)
    assert tree_of("Planning") == before
    assert [row.id for row in rows_of(id)] == [row.id for row in rows]
    for position in (seen, deleted_at, 0):
        told = events.after(EVERYTHING, id, position)
        born = {event.data.id: event.data for event in told if event.kind == "message"}
        assert {rows[number].id for number in gone} <= born.keys()
        assert told[-1].data.last_message_id == conversation_of("Planning").last_message_id
    assert {row.id: row.parent_id for row in born.values()} == {
        row.id: row.parent_id for row in rows
    }
    messages.append(EVERYTHING, id, [Draft("user", "e")])
    assert tree_of("Planning")[-2] == ("user", "e", "d")


def test_what_streamed_here_is_whole_if_what_stood_before_it_comes_back(
    store: SqliteStore, api: Api
):
    id = conversations.start(EVERYTHING, PROJECT).id
    path = f"/api/v1/conversations/{id}"
    questions = []
    for _ in range(2):
        questions += messages.append(EVERYTHING, id, [Draft("user", "Hi")])
        writer = Writer(id, "O")
        writer.append("ne")
        if len(questions) == 1:
            ended = writer
            ended.append("", "completed")
    exported = Path(store.place).with_suffix(".jsonl")
    jsonl(store)
    for question in questions:
        messages.remove(EVERYTHING, id, question.id)
    follower, late = Reader(), Reader()
    follower.receive(api.get(f"{path}/events").body)
    writer.append(" and two")
    assert bring_in(exported, restore=True).messages == 2
    expected = {question.id: ("Hi", "completed") for question in questions}
    expected |= {ended.id: ("One", "completed"), writer.id: ("One and two", "incomplete")}
    assert {row.id: (row.content, row.status) for row in rows_of(id)} == expected
    for reader in (follower, late):
        since = {"Last-Event-ID": str(reader.last_event_id)}
        reader.receive(api.get(f"{path}/events", headers=since).body)
        assert reader.texts == expected
    with pytest.raises(StreamFinished):
        writer.append(" end")


def test_a_follower_is_told_where_others_are_if_what_stood_before_them_comes_back(
    file: Path, api: Api
):
    bring_in(write(file, [line("1", "2")]))
    before = conversation_of("Planning")
    path = f"/api/v1/conversations/{before.id}/events"
    messages.append(EVERYTHING, before.id, [Draft("user", "ours")])
    messages.append(EVERYTHING, before.id, [Draft("user", "gone")])
    activity = conversation_of("Planning").activity
    follower = Reader()
    follower.receive(api.get(path).body)
    _, second, _, gone = rows_of(before.id)
    for each in (gone, second):
        messages.remove(EVERYTHING, before.id, each.id)
    assert bring_in(file, restore=True).restored == 1
    since = {"Last-Event-ID": str(follower.last_event_id)}
    follower.receive(api.get(path, headers=since).body)
    assert follower.parents == {row.id: row.parent_id for row in rows_of(before.id)}
    assert conversation_of("Planning").activity == activity


def test_the_last_message_comes_back_after_the_source_has_grown(file: Path):
    nodes = {"a": (None, said("a", time=5)), "b": ("a", said("b", time=6))}
    bring_in(write(file, [chatgpt(nodes)]))
    id = conversation_of("Planning").id
    messages.remove(EVERYTHING, id, rows_of(id)[1].id)
    nodes["x"] = ("a", said("x", time=1))
    report = bring_in(write(file, [chatgpt(nodes)]))
    assert (report.extended, report.messages, report.messages_deleted_here) == (1, 1, 1)
    assert report.branches == 0  # it goes on behind the only leaf
    for is_dry in (True, False):
        report = bring_in(file, restore=True, is_dry=is_dry)
        assert (report.restored, report.messages, report.branches) == (1, 1, 1)
    assert {row[1:] for row in tree_of("Planning")[:-1]} == {("a", None), ("b", "a"), ("x", "a")}
    assert bring_in(file, restore=True).unchanged == 1


def test_a_message_whose_place_is_taken_comes_back_at_the_end(file: Path):
    bring_in(write(file, [line("1", "2", "3")]))
    id = conversation_of("Planning").id
    first, second, third = rows_of(id)
    messages.remove(EVERYTHING, id, second.id)
    # Somebody whose clock is behind has written at that very place.
    Message.update(position=2).where(Message.id == third.id).execute()
    assert bring_in(file, restore=True).restored == 1
    assert tree_of("Planning")[:-1] == [
        ("user", "1", None),
        ("user", "3", "1"),
        ("assistant", "2", "1"),
    ]
    assert bring_in(file, restore=True).unchanged == 1
    messages.append(EVERYTHING, id, [Draft("user", "4")])
    assert first.id == rows_of(id)[0].id


def test_an_erasure_forgets_what_was_imported(file: Path):
    bring_in(write(file, [line("Hi")]), user_id="alice")
    bring_in(file, user_id="bob")
    erasure.erase("alice", None, lambda done, total: None)
    assert [row.user_id for row in Imported.select()] == ["bob"]
    assert bring_in(file, user_id="alice").created == 1


def test_what_is_imported_can_be_changed_and_forked_whatever_its_metadata(file: Path, api: Any):
    write(file, [chatgpt({"1": (None, said("Hi"))}, safe_urls=["x" * 100] * 300)])
    bring_in(file)
    id = conversation_of("Planning").id
    path = f"/api/v1/conversations/{id}"
    assert api.patch(path, {"title": "Renamed"}).status == 200
    fork = api.post(f"{path}/fork").json
    assert list(fork["metadata"]) == ["forked_from"]


def test_a_dry_run_tells_all_and_changes_nothing(file: Path):
    bring_in(write(file, [line("Hi", "Hello"), line("x", id="gone", title="Gone")]))
    conversations.remove(EVERYTHING, conversation_of("Gone").id)
    messages.edit(
        EVERYTHING, (id := conversation_of("Planning").id), rows_of(id)[0].id, content="!"
    )
    before = dump()
    write(file, [line("Hi", "Hello", "More"), line("new", id="new"), line("x", id="gone")])
    report = bring_in(file, is_dry=True)
    told = (report.created, report.extended, report.changed_at_the_source, report.deleted_here)
    assert told == (1, 1, 1, 1)
    assert report.messages == 2
    assert bring_in(file, is_dry=True, update=True, restore=True).restored == 1
    assert dump() == before


# A process


def run(*arguments: object) -> Result:
    bound = database.obj
    try:
        return CliRunner().invoke(cli, [str(each) for each in arguments])
    finally:
        database.initialize(bound)


def test_the_command_reports_in_words_and_in_json(file: Path, tmp_path: Path):
    write(
        file, [line("Hi", "Hello"), {"conversation_id": "bad", "current_node": 1, "create_time": 1}]
    )
    result = run("import", file, "--report", tmp_path / "report.json", "--user", "u")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "2 conversations found.",
        "1 created.",
        "2 messages new here, on 1 branch.",
        "Failed: bad: it has no mapping.",
    ]
    report = (tmp_path / "report.json").read_text()
    assert '"changed_at_the_source": 0' in report
    assert '"why": "it has no mapping"' in report
    assert newest(Scope(NIL, "u")).rows[0].title == "Planning"
    assert run("import", write(file, [line("Hi", "Hello")]), "--user", "u").exit_code == 0


def jsonl(store: SqliteStore) -> bytes:
    exported = Path(store.place).with_suffix(".jsonl")
    assert run("export", exported, "--force").exit_code == 0
    return exported.read_bytes()


@pytest.mark.parametrize("answer", ["Hello", "Hello " * 2_000], ids=["alone", "beside"])
def test_an_import_that_is_killed_goes_on_when_it_is_run_again(
    answer: str, store: SqliteStore, file: Path, tmp_path: Path, configure: Callable[..., None]
):
    many = [line("Hi", answer, "More", id=f"c{n}", title=f"T{n}") for n in range(900)]
    write(file, many)
    assert (file.stat().st_size >= LARGE_BYTES) == (answer != "Hello")
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{store.place}"}
    command = [sys.executable, "-m", "db", "import", str(file)]
    randomly = random.Random(17)
    kills, counts = 0, set()
    for _ in range(10):
        database.close()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        there = Imported.select().count()
        while process.poll() is None and Imported.select().count() == there:
            time.sleep(0.002)
        time.sleep(randomly.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        counts.add(Imported.select().count())
    assert kills >= 3
    assert any(0 < count < len(many) for count in counts)
    assert bring_in(file).failed == []
    killed = jsonl(store)
    other = SqliteStore(str(tmp_path / "other.db"))
    database.initialize(other)
    schema.migrate(other)
    bring_in(file)
    configure(database_url=f"sqlite:///{other.place}")
    assert jsonl(other) == killed
    other.close_all()
    database.initialize(store)


@pytest.fixture
def beside(
    store: SqliteStore, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], Report]:
    """Import a file, whatever its size, while another process stores it."""
    configure(database_url=f"sqlite:///{store.place}")
    monkeypatch.setattr(importing, "LARGE_BYTES", 0)
    return lambda file: import_paths([file], Wanted(), lambda *done: None, open_once)


def test_another_process_stores_what_is_large(beside: Callable[[Path], Report], file: Path):
    many = [line("Hi", "Hello", id=f"c{n}", title=f"T{n}") for n in range(120)]
    many[60] = {**many[60], "mapping": None}
    write(file, many)
    report = beside(file)
    assert (report.found, report.created, report.messages) == (120, 119, 238)
    assert [each["id"] for each in report.failed] == ["c60"]
    assert contents_of("T119") == ["Hi", "Hello"]
    assert (beside(file).unchanged, multiprocessing.active_children()) == (119, [])


def test_an_error_of_the_other_process_is_raised(
    beside: Callable[[Path], Report], file: Path, configure: Callable[..., None], tmp_path: Path
):
    write(file, [line("Hi", "Hello")])
    configure(database_url=f"sqlite:///{tmp_path}/no/such.db")
    with pytest.raises(SettingsError, match="no folder"):
        beside(file)
    assert multiprocessing.active_children() == []


def test_an_import_says_that_the_other_process_was_ended(
    beside: Callable[[Path], Report], file: Path, monkeypatch: pytest.MonkeyPatch
):
    write(file, [line("Hi", "Hello", id=f"c{n}", title=f"T{n}") for n in range(120)])
    sent = Storer.store

    def end_it(self: Storer, arrivals: list[Arrival]) -> list[Outcome]:
        outcomes = sent(self, arrivals)
        for process in multiprocessing.active_children():
            process.kill()
        return outcomes

    monkeypatch.setattr(Storer, "store", end_it)
    with pytest.raises(Unavailable, match="was ended"):
        beside(file)
    monkeypatch.undo()
    assert bring_in(file).failed == []
    assert Imported.select().count() == 120


def test_writers_go_on_beside_an_import(either_store: Store, file: Path):
    write(file, [line("Hi", "Hello", id=f"c{n}", title=f"T{n}") for n in range(300)])
    id = conversations.start(EVERYTHING, PROJECT, "Beside").id
    waits: list[float] = []
    is_over = threading.Event()

    def write_on() -> None:
        while not is_over.is_set():
            began = time.monotonic()
            messages.append(EVERYTHING, id, [Draft("user", "x")])
            waits.append(time.monotonic() - began)
        database.close()

    writer = threading.Thread(target=write_on)
    writer.start()
    report = bring_in(file)
    is_over.set()
    writer.join()
    assert (report.created, report.failed) == (300, [])
    assert len(rows_of(id)) == len(waits) > 2
    assert max(waits) < 5


def test_two_imports_of_one_file_side_by_side_make_it_once(either_store: Store, file: Path):
    write(file, [line("Hi", "Hello", id=f"c{n}", title=f"T{n}") for n in range(120)])
    reports: list[Any] = []
    threads = [threading.Thread(target=lambda: reports.append(bring_in(file))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.created for report in reports) == 120
    assert sum(report.unchanged for report in reports) == 240
    assert [report.failed for report in reports] == [[]] * 3
    assert len(newest(EVERYTHING, limit=1000).rows) == 120


def test_what_was_imported_is_found_listed_and_in_the_feed(file: Path, api: Any):
    bring_in(write(file, [line("A needle", "Hello"), line("Other", id="d", title="Other")]))
    database.close()
    found = api.get("/api/v1/search", q="needle").json["results"]
    assert [result["conversation"]["title"] for result in found] == ["Planning"]
    listed = api.get("/api/v1/conversations", project_id=NIL, sort="activity").json
    assert [row["title"] for row in listed["conversations"]] == ["Planning", "Other"]
    changes = api.get("/api/v1/changes", project_id=NIL).json["changes"]
    assert {change["conversation"]["title"] for change in changes} == {"Planning", "Other"}
    id = found[0]["conversation"]["id"]
    said_next = {"role": "user", "content": "Next"}
    assert api.post(f"/api/v1/conversations/{id}/messages", said_next).status == 201
    shown = api.get(f"/api/v1/conversations/{id}").json["messages"]
    assert [message["content"] for message in shown] == ["A needle", "Hello", "Next"]
