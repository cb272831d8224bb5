"""Tests the form of time stamps and ids, and that they only grow."""

import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from db import clock as db_clock
from db import conversations, lists, messages, streams
from db.clock import ago, new_id, now
from db.engine.database import transaction
from db.engine.sqlite import SqliteStore
from db.messages import Draft
from db.models import Conversation
from db.scope import EVERYTHING
from db.settings import settings
from db.startup import open_store

from .support.clock import Clock
from .support.writer import Writer

AN_HOUR = 3600
YEAR = 365 * 24 * AN_HOUR


def test_a_time_is_rfc_3339_in_utc_with_milliseconds():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now())
    assert abs(datetime.now(UTC) - datetime.fromisoformat(now())).total_seconds() < AN_HOUR


def test_a_time_on_the_full_second_has_its_milliseconds_too(monkeypatch: pytest.MonkeyPatch):
    class FullSecond:
        @staticmethod
        def now(zone: object) -> datetime:
            return datetime(2026, 11, 21, 20, 22, 8, tzinfo=UTC)

    monkeypatch.setattr("db.clock.datetime", FullSecond)
    assert now() == "2026-11-21T20:22:08.000Z"
    assert ago(0.25) == "2026-11-21T20:22:07.750Z"


@pytest.mark.usefixtures("clock")
def test_an_id_is_a_uuid_of_version_7_made_now():
    before = time.time_ns() // 1_000_000
    text = new_id()
    after = time.time_ns() // 1_000_000
    id = uuid.UUID(text)
    assert text == str(id)
    assert (id.version, id.variant) == (7, uuid.RFC_4122)
    assert before <= id.int >> 80 <= after


def test_ids_made_in_the_same_millisecond_grow(monkeypatch: pytest.MonkeyPatch):
    moment = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))


def test_ids_made_by_many_threads_differ_and_grow_in_each():
    def make(_: int) -> list[str]:
        return [new_id() for _ in range(2000)]

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(8)))
    assert all(ids == sorted(ids) for ids in made)
    assert len({id for ids in made for id in ids}) == 8 * 2000


def test_ids_grow_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch):
    before = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    ids = [new_id() for _ in range(10)]
    assert [before, *ids] == sorted({before, *ids})
    assert {uuid.UUID(id).version for id in ids} == {7}


# `clock` resets the newest id of the process. The ids below are from the far future.
@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("last", "begins"),
    [
        ("f0000000-0000-7000-8000-000000000000", "f0000000-0000-7000-8"),
        ("f0000000-0000-7000-bfff-ffffffffffff", "f0000000-0000-7001-8"),
        ("f0000000-0000-7fff-bfff-ffffffffffff", "f0000000-0001-7000-8"),
    ],
)
def test_an_id_follows_one_from_a_machine_whose_clock_is_ahead(last: str, begins: str):
    id = new_id(after=last)
    assert id > last
    assert id.startswith(begins)


def test_an_id_after_an_old_one_has_the_present_time():
    floor = new_id()
    assert new_id(after="0198c5a6-0000-7000-8000-000000000000") > floor


def test_later_never_goes_back(clock: Clock):
    before = now()
    clock.move(-AN_HOUR)
    assert now() < before
    later = transaction(conversations.later)
    assert later(before) == before
    clock.move(2 * AN_HOUR)
    assert later(before) > before


def test_a_conversation_keeps_its_order_when_the_clock_goes_back(clock: Clock):
    started = conversations.start(EVERYTHING, "p")
    first, second = messages.append(
        EVERYTHING, started.id, [Draft("user", "1"), Draft("user", "2")]
    )
    clock.move(-AN_HOUR)
    (third,) = messages.append(EVERYTHING, started.id, [Draft("user", "3")])
    renamed = conversations.change(EVERYTHING, started.id, title="Later")
    assert first.id < second.id < third.id
    assert started.updated_at <= second.created_at <= third.created_at <= renamed.updated_at


def test_an_id_behind_another_is_not_given_out_again(clock: Clock):
    clock.move(AN_HOUR)
    newest = new_id()
    clock.move(-2 * AN_HOUR)
    db_clock._newest = 0
    made = [new_id(after=newest) for _ in range(1000)]
    assert len({*made}) == 1000
    assert min(made) > newest


# The store outlives a process and its clock


def open_again(store: SqliteStore) -> None:
    """What a process that starts does. It has made no id yet."""
    store.close_all()
    db_clock._newest = 0
    open_store(settings())


def newest_first() -> list[str | None]:
    return [row.title for row in lists.newest(EVERYTHING).rows]


@pytest.mark.parametrize("seconds", [AN_HOUR, 20 * YEAR])
def test_a_conversation_sorts_behind_older_ones_if_the_clock_went_back_before_the_start(
    clock: Clock, store: SqliteStore, seconds: float
):
    clock.move(seconds)
    conversations.start(EVERYTHING, "p", "first")
    clock.move(-seconds)
    open_again(store)
    for title in ("second", "third"):
        conversations.start(EVERYTHING, "p", title)
    assert newest_first() == ["third", "second", "first"]


def test_the_latest_active_conversation_comes_first_if_the_clock_went_back_before_the_start(
    clock: Clock, store: SqliteStore
):
    one, other = (conversations.start(EVERYTHING, "p", title) for title in ("one", "other"))
    clock.move(AN_HOUR)
    for row in (one, other):
        messages.append(EVERYTHING, row.id, [Draft("user", "Hi")])
    clock.move(-AN_HOUR)
    open_again(store)
    messages.append(EVERYTHING, one.id, [Draft("user", "again")])
    rows = lists.newest(EVERYTHING, sort=lists.ACTIVITY).rows
    assert [row.title for row in rows] == ["one", "other"]


def test_two_processes_that_count_on_from_one_id_make_different_ones(
    clock: Clock, store: SqliteStore
):
    clock.move(AN_HOUR)
    newest = conversations.start(EVERYTHING, "p").id
    clock.move(-AN_HOUR)
    made = []
    for _ in range(2):
        open_again(store)
        made.append([new_id() for _ in range(1000)])
    assert made[0] == sorted(made[0])
    assert made[0][0] > newest
    assert made[1][0] > newest
    assert not set(made[0]) & set(made[1])


def test_an_id_after_which_there_is_no_other_is_not_counted_on_from(
    clock: Clock, store: SqliteStore
):
    last = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    row = conversations.start(EVERYTHING, "p")
    Conversation.update(id=last).where(Conversation.id == row.id).execute()
    conversations.start(EVERYTHING, "p", "kept")
    open_again(store)
    id = conversations.start(EVERYTHING, "p", "next").id
    assert uuid.UUID(id).version == 7
    assert id < last
    assert newest_first() == [None, "next", "kept"]


def test_a_stream_of_a_clock_that_was_ahead_ends_when_its_writer_was_silent_for_long_enough(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    row = conversations.start(EVERYTHING, "p")
    clock.move(AN_HOUR)
    gone, alive = Writer(row.id, "gone"), Writer(row.id, "alive")
    clock.move(-AN_HOUR)
    moving = SimpleNamespace(monotonic=lambda: time.monotonic() + clock.ahead)
    monkeypatch.setattr(streams, "time", moving)
    assert gone.text == ("gone", "in_progress")
    for _ in range(2):
        clock.move(40)
        alive.append("!")
    assert gone.text == ("gone", "incomplete")
    assert alive.text == ("alive!!", "in_progress")
    clock.move(61)
    assert alive.text == ("alive!!", "incomplete")


def test_a_stream_in_a_conversation_whose_time_is_ahead_ends_in_time(
    clock: Clock,
):
    clock.move(AN_HOUR)
    row = conversations.start(EVERYTHING, "p")
    clock.move(-AN_HOUR)
    answer = Writer(row.id, "Hel")
    progress = answer.append("lo")
    assert progress.updated_at >= row.updated_at
    assert answer.message.updated_at >= row.updated_at
    clock.move(59)
    assert answer.text == ("Hello", "in_progress")
    clock.move(2)
    assert answer.text == ("Hello", "incomplete")
    assert answer.message.updated_at >= row.updated_at
