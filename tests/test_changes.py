"""Tests the feed of changes: what a reader is told, who knew all up to some place."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from db import changes, conversations, messages, transcripts, trash
from db.changes import Deleted
from db.engine.connect import Store
from db.engine.database import database, transaction
from db.errors import CursorExpired
from db.messages import Draft
from db.models import Conversation, Tombstone
from db.scope import EVERYTHING, Scope
from db.settings import settings
from db.startup import open_store
from handlers.changes import ChangesQuery, list_changes
from handlers.http.caller import Caller

from .support.clock import Clock
from .support.world import PROJECT
from .support.writer import Writer

DAY = timedelta(days=1).total_seconds()


class Replica:
    """All that a reader of the feed knows: each conversation as it was told last."""

    def __init__(self, scope: Scope = EVERYTHING, limit: int = 100) -> None:
        self.scope, self.limit = scope, limit
        self.place: changes.Place | None = None
        self.rows: dict[str, Any] = {}
        self.told: list[str] = []

    def look(self) -> bool:
        """Read a page, and return whether there is more."""
        page = changes.page_for(self.scope, None, self.place, self.limit)
        self.place = page.place
        for row in page.rows:
            self.told.append(row.id)
            if isinstance(row, Deleted):
                self.rows.pop(row.id, None)
            else:
                self.rows[row.id] = row
        return page.has_more

    def catch_up(self) -> list[str]:
        """The ids that are told of now."""
        self.told = []
        while self.look():
            pass
        return self.told


def append(id: str) -> str:
    return messages.append(EVERYTHING, id, [Draft("user", "Hello")])[0].id


def rename(id: str) -> None:
    conversations.change(EVERYTHING, id, title="New")


def edit(id: str) -> None:
    messages.edit(EVERYTHING, id, first_of(id), content="Edited")


def delete_message(id: str) -> None:
    messages.remove(EVERYTHING, id, first_of(id))


def switch(id: str) -> None:
    transcripts.change(EVERYTHING, id, last_message_id=first_of(id))


def first_of(id: str) -> str:
    return messages.page_for(EVERYTHING, id).rows[0].id


def open_stream(id: str) -> None:
    Writer(id)


@pytest.fixture
def ids(either_store: Store) -> list[str]:
    made = [conversations.start(EVERYTHING, PROJECT).id for _ in range(5)]
    for id in made:
        append(id)
        append(id)
    return made


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_reader_is_told_of_all_that_there_is_and_then_of_what_changed(ids: list[str], limit: int):
    replica = Replica(limit=limit)
    assert sorted(replica.catch_up()) == ids
    assert replica.catch_up() == []
    rename(ids[3])
    append(ids[1])
    append(ids[3])
    assert replica.catch_up() == [ids[1], ids[3]]
    assert replica.rows == {id: conversations.find(EVERYTHING, id) for id in ids}


@pytest.mark.parametrize("change", [append, rename, edit, delete_message, switch, open_stream])
def test_each_change_is_told_once(ids: list[str], change: Callable[[str], object]):
    replica = Replica()
    replica.catch_up()
    change(ids[2])
    assert replica.catch_up() == [ids[2]]
    assert replica.catch_up() == []


def test_the_start_and_the_end_of_a_stream_count_and_its_pieces_do_not(ids: list[str]):
    replica = Replica()
    writer = Writer(ids[0])
    replica.catch_up()
    writer.append("Once upon")
    writer.append("")
    assert replica.catch_up() == []
    writer.append(" a time", "completed")
    assert replica.catch_up() == [ids[0]]


def test_a_request_that_changes_nothing_is_not_told(ids: list[str]):
    replica = Replica()
    rename(ids[0])
    replica.catch_up()
    rename(ids[0])
    assert replica.catch_up() == []


def test_what_is_deleted_and_restored_is_told(ids: list[str]):
    replica = Replica()
    replica.catch_up()
    conversations.remove(EVERYTHING, ids[0])
    conversations.remove(EVERYTHING, ids[1])
    assert replica.catch_up() == ids[:2]
    assert set(replica.rows) == set(ids[2:])
    trash.restore(EVERYTHING, ids[0])
    trash.purge(EVERYTHING, ids[1])
    assert replica.catch_up() == ids[:2]
    assert set(replica.rows) == {ids[0], *ids[2:]}


def test_who_begins_is_told_of_nothing_that_is_gone(ids: list[str]):
    conversations.remove(EVERYTHING, ids[0])
    conversations.remove(EVERYTHING, ids[1])
    trash.purge(EVERYTHING, ids[1])
    assert sorted(Replica().catch_up()) == ids[2:]


def test_a_reader_is_told_of_its_scope_only(either_store: Store):
    theirs = {}
    for scope in (Scope("p", "a"), Scope("p", "b"), Scope("q", "a"), Scope("q")):
        theirs[scope] = conversations.start(scope, str(scope.project_id)).id
    gone = conversations.start(Scope("p", "a"), "p").id
    readers = {
        Scope("p", "a"): 1, Scope("p"): 2, Scope(None, "a"): 2, EVERYTHING: 4, Scope("r"): 0,
    }  # fmt: skip
    replicas = [Replica(scope, limit=2) for scope in readers]
    for replica in replicas:
        replica.catch_up()
    conversations.remove(EVERYTHING, gone)
    trash.purge(EVERYTHING, gone)
    for replica, count in zip(replicas, readers.values(), strict=True):
        told = replica.catch_up()
        covers_it = replica.scope.covers(Scope("p", "a"))  # a scope has both fields, too
        assert told == [gone] * covers_it
        assert len(replica.rows) == count
        assert all(replica.scope.covers(row) for row in replica.rows.values())


# --- How long a cursor is good for


def test_a_cursor_is_good_until_tombstones_are_swept(ids: list[str], clock: Clock):
    replica, away = Replica(), Replica()
    replica.catch_up()
    away.catch_up()
    for _ in range(7):  # it looks now and then, and nothing happens
        clock.move(seconds=10 * DAY)
        assert replica.catch_up() == []
    with pytest.raises(CursorExpired):
        away.catch_up()


def test_reading_a_long_feed_slowly_does_not_renew_the_cursor(ids: list[str], clock: Clock):
    replica = Replica(limit=1)
    replica.look()
    clock.move(seconds=61 * DAY)
    with pytest.raises(CursorExpired):
        replica.look()


def test_a_cursor_from_before_a_backup_was_restored_is_no_longer_good(ids: list[str]):
    replica = Replica()
    replica.catch_up()
    assert replica.place
    replica.place = replica.place._replace(number=replica.place.number + 1_000_000)
    with pytest.raises(CursorExpired, match="restored"):
        replica.catch_up()


def test_old_tombstones_are_swept_but_the_newest_one(
    ids: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trash.sweep_if_due, "due_at", float("inf"))
    replica = Replica()
    replica.catch_up()
    for id in ids:
        conversations.remove(EVERYTHING, id)
        trash.purge(EVERYTHING, id)
    clock.move(seconds=61 * DAY)
    trash.sweep()
    assert Tombstone.select().count() == 1
    replica = Replica()
    replica.catch_up()
    new = conversations.start(EVERYTHING, PROJECT).id
    assert replica.catch_up() == [new]


# --- Who commits when


def test_a_change_that_is_not_committed_is_told_after_its_commit(
    ids: list[str], either_store: Store
):
    """A transaction is held open, while others commit (on PostgreSQL)."""
    if either_store.engine == "sqlite":
        others: list[Callable[[], object]] = []  # SQLite has one writer
    else:
        others = [lambda: append(ids[1]), lambda: rename(ids[2])]
    replica = Replica()
    replica.catch_up()
    is_held, may_end = threading.Event(), threading.Event()

    @transaction
    def hold() -> None:
        append(ids[0])
        is_held.set()
        may_end.wait(10)

    holder = threading.Thread(target=lambda: (hold(), database.close()))
    holder.start()
    is_held.wait(10)
    for other in others:
        other()
    during = replica.catch_up()
    may_end.set()
    holder.join()
    after = replica.catch_up()
    assert sorted({*during, *after}) == sorted(ids[: 1 + len(others)])
    assert replica.rows == {id: conversations.find(EVERYTHING, id) for id in ids}


def test_a_waiting_reader_is_told_at_once(ids: list[str]):
    cursor = list_changes(Caller(EVERYTHING), ChangesQuery()).body
    after = changes_of(cursor)["cursor"]
    timer = threading.Timer(0.2, lambda: (append(ids[0]), database.close()))
    timer.start()
    began = time.monotonic()
    told = changes_of(list_changes(Caller(EVERYTHING), ChangesQuery(after=after, wait=10)).body)
    timer.join()
    assert time.monotonic() - began < 5
    assert [change["conversation"]["id"] for change in told["changes"]] == [ids[0]]


def changes_of(body: Any) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(body)
    return found


def test_numbers_go_on_in_a_database_whose_rows_came_from_elsewhere(ids: list[str]):
    Conversation.update(changed=10**12).where(Conversation.id == ids[0]).execute()
    database.close()
    store = open_store(settings())
    try:
        replica = Replica()
        assert sorted(replica.catch_up()) == ids
        rename(ids[1])
        conversations.start(EVERYTHING, PROJECT)
        assert len(replica.catch_up()) == 2
    finally:
        store.close_all()
