"""Tests whom a locked file keeps waiting, and for how long."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.engine.writer_lock import WriterLock
from db.upkeep import schema

from .support.clients import Api, assert_problem, open_api
from .support.local_server import eventually, threads_aside
from .support.processes import PATIENCE
from .support.world import PROJECT

CONVERSATIONS = "/api/v1/conversations"


@pytest.fixture
def api(port: int) -> Iterator[Api]:
    with open_api(port) as api:
        yield api


@contextmanager
def another_process_writes(path: str, how: str) -> Iterator[None]:
    """Hold the lock of another process that writes."""
    if how == "through our store":
        other = SqliteStore(path)
        with other.writer:
            yield
    else:
        with closing(sqlite3.connect(path)) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            yield


@pytest.mark.parametrize("how", ["through our store", "by another program"])
def test_a_locked_file_keeps_writers_waiting_and_no_reader(
    port: int, api: Api, store: SqliteStore, how: str
):
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]

    def append(number: int) -> int:
        with open_api(port) as writer:
            message = {"role": "user", "content": str(number)}
            return writer.post(f"{path}/messages", message).status

    with ThreadPoolExecutor(8) as pool:
        with another_process_writes(store.place, how):
            writing = [pool.submit(append, number) for number in range(8)]
            started = time.monotonic()
            for _ in range(20):
                assert api.get(path).status == 200
            assert time.monotonic() - started < PATIENCE / 10
            assert not any(each.done() for each in writing)
        assert [each.result() for each in writing] == [201] * 8
    assert len(api.get(path).json["messages"]) == 8
    assert eventually(lambda: threads_aside() == 0)


def test_a_process_whose_first_request_is_a_write_waits_for_the_lock(
    port: int, store: SqliteStore, configure: Callable[..., None]
):
    configure(database_url=f"sqlite:///{store.place}", require_api_key="false")

    def create() -> int:
        with open_api(port) as writer:
            return writer.post(CONVERSATIONS, {"project_id": PROJECT}).status

    with ThreadPoolExecutor(1) as pool:
        database.initialize(None)
        with another_process_writes(store.place, "through our store"):
            writing = pool.submit(create)
            assert eventually(lambda: threads_aside() == 1)
        assert writing.result() == 201
    database.obj.close_all()
    database.initialize(store)


def test_a_file_that_stays_locked_is_a_503_in_time(port: int, api: Api, store: SqliteStore):
    assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201
    store.writer = WriterLock(f"{store.place}-lock", patience=0.1)
    with another_process_writes(store.place, "through our store"):
        answer = api.post(CONVERSATIONS, {"project_id": PROJECT})
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201


@pytest.mark.parametrize("how", ["through our store", "by another program"])
def test_a_read_that_has_to_finish_a_message_in_a_locked_file_keeps_nobody_waiting(
    port: int, api: Api, store: SqliteStore, configure: Callable[..., None], how: str
):
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]
    opened = {"role": "assistant", "content": "", "status": "in_progress"}
    assert api.post(f"{path}/messages", opened).status == 201
    configure(stream_timeout=1e-3, require_api_key="false")
    time.sleep(0.01)
    with ThreadPoolExecutor(2) as pool, open_api(port) as reader, open_api(port) as follower:
        with another_process_writes(store.place, how):
            reading = pool.submit(reader.get, path)
            following = pool.submit(follower.get, f"{path}/events", wait=20)
            assert eventually(lambda: threads_aside() == 2)
            started = time.monotonic()
            for _ in range(20):
                assert api.get(CONVERSATIONS, limit=1, include_messages="false").status == 200
            assert time.monotonic() - started < PATIENCE / 10
        (message,) = reading.result(PATIENCE).json["messages"]
        assert b"event: message" in following.result(PATIENCE).body
    assert message["status"] == "incomplete"
    assert eventually(lambda: threads_aside() == 0)


def test_a_file_that_cannot_be_read_keeps_only_those_waiting_who_read_it(
    port: int, api: Api, store: SqliteStore, tmp_path: Path
):
    """With a rollback journal, who writes keeps readers waiting, too."""
    rolled_back = SqliteStore(str(tmp_path / "journal.db"), journal_mode="delete")
    schema.migrate(rolled_back)
    database.initialize(rolled_back)

    def read(_: int) -> int:
        with open_api(port) as reader:
            return reader.get(CONVERSATIONS).status

    with ThreadPoolExecutor(8) as pool:
        with closing(sqlite3.connect(rolled_back.place)) as foreign:
            foreign.execute("BEGIN EXCLUSIVE")
            reading = [pool.submit(read, number) for number in range(8)]
            assert eventually(lambda: threads_aside() == 8)
            started = time.monotonic()
            for _ in range(20):
                assert api.get("/openapi.json").status == 200
            assert time.monotonic() - started < PATIENCE / 10
        assert [each.result(PATIENCE) for each in reading] == [200] * 8
    assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201
    assert eventually(lambda: threads_aside() == 0)
    rolled_back.close_all()
    database.initialize(store)


def test_the_loop_waits_for_a_lock_itself_if_no_thread_can_start(
    api: Api, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201
    store.writer = WriterLock(f"{store.place}-lock", patience=0.1)

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with another_process_writes(store.place, "by another program"):
        with monkeypatch.context() as exhausted:
            exhausted.setattr(threading.Thread, "start", fail)
            answer = api.post(CONVERSATIONS, {"project_id": PROJECT})
        assert_problem(answer, 503, "unavailable")
    assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201
