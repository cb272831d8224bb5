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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from db import conversations, messages
from db.engine import sqlite_connections
from db.engine.database import cause_of, database, keeps_connection
from db.engine.group_commit import Group
from db.engine.sqlite import SqliteStore
from db.engine.writer_lock import WriterLock
from db.errors import Unavailable
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.http import logs

from .support.clients import Answer, Api, assert_problem
from .support.world import PROJECT

CONVERSATIONS = "/api/v1/conversations"
NEW = {"project_id": PROJECT, "title": "new"}
SUFFIXES = ("", "-wal", "-shm", "-lock")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the service logs during the test."""
    lines = io.StringIO()
    monkeypatch.setattr(logs._handler, "stream", lines)
    return lines


@pytest.fixture(params=["a thread for each request", "one thread for all"])
def api(request: pytest.FixtureRequest, api: Api) -> Iterator[Api]:
    """Connections are given back after each request, or kept by the thread."""
    token = keeps_connection.set(request.param == "one thread for all")
    yield api
    keeps_connection.reset(token)


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reads, and the health, look at the files each time."""
    monkeypatch.setattr(sqlite_connections, "LOOK_SECONDS", 0)
    monkeypatch.setattr("db.engine.sqlite.PROOF_SECONDS", 0)
    monkeypatch.setattr("db.engine.sqlite.FULL_SECONDS", 0)


def create(api: Api) -> Answer:
    return api.post(CONVERSATIONS, NEW)


def errors(log: io.StringIO) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["level"] == "ERROR"]


def assert_unavailable(api: Api) -> None:
    """Assert that nothing is written, and that the health tells so."""
    for answer in (create(api), api.get("/health")):
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"


def assert_well(api: Api) -> None:
    assert api.get("/health").status == 200
    assert create(api).status == 201
    assert api.get(CONVERSATIONS).status == 200


def assert_sound(path: str) -> None:
    database.obj.close_all()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def titles(api: Api) -> set[str]:
    return {row["title"] for row in api.get(CONVERSATIONS).json["conversations"]}


def remove(path: str, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    for suffix in suffixes:
        Path(path + suffix).unlink(missing_ok=True)


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


# The files are deleted or replaced


def backup(store: SqliteStore, folder: Path) -> Path:
    """A copy of the database, in which there is a conversation `copied`."""
    conversations.start(EVERYTHING, PROJECT, "copied")
    copy = folder / "copy.db"
    with closing(sqlite3.connect(copy)) as target:
        store.connection().backup(target)
    database.close()
    return copy


def delete_all(path: str, away: Path) -> None:
    remove(path)


def delete_database(path: str, away: Path) -> None:
    remove(path, ("",))


def move_database(path: str, away: Path) -> None:
    Path(path).rename(away / "moved.db")


@pytest.mark.parametrize("fault", [delete_all, delete_database, move_database])
def test_a_database_that_was_deleted_is_503_until_one_is_there(
    api: Api, store: SqliteStore, tmp_path: Path, fault: Callable[[str, Path], None]
):
    copy = backup(store, tmp_path)
    assert create(api).status == 201
    away = tmp_path / "away"
    away.mkdir()
    fault(store.place, away)
    for _ in range(3):
        assert_unavailable(api)
        assert_problem(api.get(CONVERSATIONS), 503, "unavailable")
        assert not Path(store.place).exists()
    copy.rename(store.place)
    assert titles(api) == {"copied"}
    assert_well(api)
    assert titles(api) == {"copied", "new"}
    assert_sound(store.place)
    if fault is move_database:  # what was acknowledged moved along
        with closing(sqlite3.connect(away / "moved.db")) as moved:
            assert moved.execute("SELECT count(*) FROM conversation").fetchone() == (2,)


def test_a_database_that_was_replaced_is_served_and_its_predecessors_log_is_not_applied(
    api: Api, store: SqliteStore, tmp_path: Path
):
    copy = backup(store, tmp_path)
    for _ in range(20):
        assert create(api).status == 201
    copy.replace(store.place)
    assert api.get("/health").status == 200
    assert titles(api) == {"copied"}
    assert_well(api)
    assert titles(api) == {"copied", "new"}
    assert_sound(store.place)


def test_a_log_that_was_deleted_loses_nothing(api: Api, store: SqliteStore):
    ids = [create(api).json["id"] for _ in range(20)]
    remove(store.place, ("-wal",))
    assert create(api).status in (201, 503)
    assert_well(api)
    for id in ids:
        assert api.get(f"{CONVERSATIONS}/{id}").status == 200
    assert_sound(store.place)


@pytest.mark.parametrize("suffixes", [SUFFIXES, ("",), ("-wal",)], ids=["all", "file", "log"])
def test_a_write_is_not_acknowledged_if_its_files_went_before_the_commit(
    api: Api, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, suffixes: tuple[str, ...]
):
    assert create(api).status == 201
    insert = conversations._insert

    def fail(*row: object) -> None:
        insert(*row)
        remove(store.place, suffixes)

    with monkeypatch.context() as failing:
        failing.setattr(conversations, "_insert", fail)
        assert_problem(create(api), 503, "unavailable")
    if suffixes == ("-wal",):
        assert_well(api)
    else:
        assert_unavailable(api)


def test_a_group_is_not_acknowledged_if_its_files_went_before_the_commit(store: SqliteStore):
    group = Group(store)
    assert group.begin()
    group.run(lambda: conversations.start(EVERYTHING, PROJECT, "lost"))
    remove(store.place)
    with pytest.raises(Unavailable, match="deleted or replaced"):
        group.commit()
    with pytest.raises(Unavailable):
        Group(store)


def test_a_folder_that_comes_back_has_all_that_was_acknowledged(
    api: Api, store: SqliteStore, tmp_path: Path
):
    ids = [create(api).json["id"] for _ in range(5)]
    away = tmp_path.rename(tmp_path.with_name("away"))
    assert_unavailable(api)
    away.rename(tmp_path)
    assert_well(api)
    assert all(api.get(f"{CONVERSATIONS}/{id}").status == 200 for id in ids)


def test_the_schema_is_looked_at_again_also_if_the_file_has_the_same_number(
    api: Api, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file system gives a new file the number of one that was deleted."""
    prepared: list[SqliteStore] = []
    monkeypatch.setattr(store, "on_replaced", lambda: prepared.append(store))
    away = tmp_path / "away.db"
    Path(store.place).rename(away)
    assert_unavailable(api)
    away.rename(store.place)
    assert_well(api)
    assert prepared == [store]


def test_a_database_of_an_older_schema_is_migrated_when_it_takes_the_place(
    api: Api, store: SqliteStore, tmp_path: Path, configure: Callable[..., None]
):
    configure(require_api_key="false")  # the old database has no key
    del api.headers["X-API-Key"]
    remove(store.place)
    old = SqliteStore(str(tmp_path / "old.db"))
    old.execute_sql("CREATE TABLE something (id INTEGER)")
    old.close_all()
    Path(old.place).rename(store.place)
    assert_well(api)
    assert store.table_exists("something")
    assert store.table_exists("conversation")
