"""Tests what a server answers while its disk or its files fail, and that it recovers by itself."""

import errno
import fcntl
import io
import json
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from db import conversations, messages
from db.engine.database import cause_of, database, keeps_connection
from db.engine.group_commit import Group
from db.engine.sqlite import SqliteStore
from db.engine.writer_lock import WriterLock
from db.errors import Unavailable
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.http import logs

from .support.clients import Api, assert_problem
from .support.faults import (
    CONVERSATIONS,
    assert_sound,
    assert_unavailable,
    assert_well,
    backup,
    create,
    remove,
    titles,
)
from .support.world import PROJECT

pytestmark = pytest.mark.usefixtures("look_at_once")


@pytest.fixture
def api(each_way: None, api: Api) -> Api:
    """It is used in each way."""
    return api


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the service logs during the test."""
    lines = io.StringIO()
    monkeypatch.setattr(logs._handler, "stream", lines)
    return lines


def errors(log: io.StringIO) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["level"] == "ERROR"]


# What a connection must not keep


def test_a_connection_that_may_only_read_is_not_kept(api: Api, store: SqliteStore):
    assert create(api).status == 201
    store.connection().execute("PRAGMA query_only = 1")
    if not keeps_connection.get():
        database.close()
    assert_problem(create(api), 503, "unavailable")
    assert_well(api)


def test_health_tells_that_a_connection_may_only_read(api: Api, store: SqliteStore):
    assert api.get("/health").status == 200
    store.connection().execute("PRAGMA query_only = 1")
    if not keeps_connection.get():
        database.close()
    assert_problem(api.get("/health"), 503, "unavailable")
    assert_well(api)


@pytest.mark.parametrize("content", [b"This is no database. " * 500, b""], ids=["text", "nothing"])
def test_a_file_that_becomes_a_database_is_served(
    api: Api, store: SqliteStore, tmp_path: Path, content: bytes
):
    copy = backup(store, tmp_path)
    remove(store.place)
    Path(store.place).write_bytes(content)
    if content:
        assert_unavailable(api)
        assert_unavailable(api)
    remove(store.place)
    copy.rename(store.place)
    assert_well(api)


# No room


@contextmanager
def no_room(store: SqliteStore) -> Iterator[None]:
    """Let no file of this process grow beyond the size that the log has."""
    log = Path(f"{store.place}-wal")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_write_that_finds_no_room_is_503_until_there_is_some(
    api: Api, store: SqliteStore, log: io.StringIO
):
    assert create(api).status == 201
    with no_room(store):
        assert_unavailable(api)
        assert_unavailable(api)
        assert api.get(CONVERSATIONS).status == 200
    assert_well(api)
    assert errors(log)
    for line in errors(log):
        assert str(line["message"]).startswith("SQLITE_IOERR")
        assert "exception" not in line
    assert_sound(store.place)


def fill(store: SqliteStore) -> None:
    """Let the database have no more pages than it has."""
    store.pragma("max_page_count", store.pragma("page_count"))


LARGE = {"role": "user", "content": "x" * 100_000}


def test_a_full_disk_is_logged_by_its_cause_in_one_line(
    api: Api, store: SqliteStore, log: io.StringIO
):
    path = create(api).headers["location"]
    fill(store)
    if not keeps_connection.get():
        database.close()
    answer = api.post(f"{path}/messages", LARGE)
    problem = assert_problem(answer, 503, "unavailable")
    (line,) = errors(log)
    assert line["message"] == "SQLITE_FULL: database or disk is full"
    assert line["request_id"] == problem["instance"]
    assert "exception" not in line


def test_health_tells_that_a_disk_is_full_on_which_a_small_write_finds_room(
    api: Api, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("db.engine.sqlite.FULL_SECONDS", 0.3)
    path = create(api).headers["location"]
    fill(store)
    if not keeps_connection.get():
        database.close()
    assert_problem(api.post(f"{path}/messages", LARGE), 503, "unavailable")
    assert_problem(api.get("/health"), 503, "unavailable")
    time.sleep(0.4)
    assert api.get("/health").status == 200


def test_all_writes_of_a_group_tell_the_cause_of_the_one_that_broke_it(
    store: SqliteStore, conversation_id: str
):
    fill(store)
    group = Group(store)
    assert group.begin()

    def write(content: str) -> object:
        return group.run(
            lambda: messages.append(EVERYTHING, conversation_id, [Draft("user", content)])
        )

    write("small")
    causes = []
    for step in (lambda: write("x" * 100_000), lambda: write("small"), group.commit):
        with pytest.raises(Unavailable) as raised:
            step()
        causes.append(cause_of(raised.value.__cause__))
    assert causes == ["SQLITE_FULL: database or disk is full"] * 3
    store.pragma("max_page_count", 1_000_000)
    assert messages.page_for(EVERYTHING, conversation_id).rows == []


def test_health_does_not_wait_for_others_that_write(api: Api, store: SqliteStore):
    """It is well until a write has waited for them in vain."""
    store.writer = WriterLock(f"{store.place}-lock", patience=0.01)
    store.busy_timeout = 10
    with closing(sqlite3.connect(store.place)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert api.get("/health").status == 200
        assert_unavailable(api)
        other.execute("ROLLBACK")
        assert_well(api)
    with SqliteStore(store.place).writer:
        assert api.get("/health").status == 200
        assert_unavailable(api)
    assert_well(api)


def test_all_waits_of_a_write_have_one_deadline(store: SqliteStore):
    """It waits for a thread, for another process of ours, and for another program."""
    patience = 1.5
    store.writer = WriterLock(f"{store.place}-lock", patience)
    foreign = sqlite3.connect(store.place, check_same_thread=False)
    other = SqliteStore(store.place)
    other.writer.acquire()
    store.writer._threads.acquire()
    timers = [
        threading.Timer(0.5, store.writer._threads.release),
        threading.Timer(1.0, other.writer.release),
    ]
    with closing(foreign):
        foreign.execute("BEGIN IMMEDIATE")
        for timer in timers:
            timer.start()
        started = time.monotonic()
        with pytest.raises(Unavailable, match="locked"):
            conversations.start(EVERYTHING, PROJECT)
        assert patience - 0.1 < time.monotonic() - started < 2 * patience
    assert store.pragma("busy_timeout") == 10_000
    conversations.start(EVERYTHING, PROJECT)


def test_a_group_waits_until_the_deadline_that_it_is_given(store: SqliteStore):
    group = Group(store)
    with closing(sqlite3.connect(store.place)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for wait_for in (0.3, 0, -1):
            with pytest.raises(Unavailable, match="locked"):
                group.begin(time.monotonic() + wait_for)
        assert 0.2 < time.monotonic() - started < 5
    assert group.begin(time.monotonic())
    group.end()


def test_a_lock_that_cannot_be_given_back_stops_no_later_writer(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    flock = fcntl.flock

    def fail(file: int, how: int) -> None:
        if how == fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")
        flock(file, how)

    with monkeypatch.context() as broken:
        broken.setattr(fcntl, "flock", fail)
        assert create(api).status >= 500
    assert_well(api)


def test_a_log_that_takes_no_line_fails_no_request(api: Api, monkeypatch: pytest.MonkeyPatch):
    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(logs._handler, "stream", Full())
        assert create(api).status == 201
    assert titles(api) == {"new"}
