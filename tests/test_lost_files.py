"""Tests two server processes whose database is deleted or replaced, or loses its log."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .support.clients import Api, open_api
from .support.processes import PATIENCE, ProductionServer
from .support.world import PROJECT

CONVERSATIONS = "/api/v1/conversations"
CLIENTS = 6  # the system spreads them over the processes
RECOVERY_SECONDS = 1


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "served.db")


@pytest.fixture
def server(path: str) -> Iterator[ProductionServer]:
    settings = {"workers": 2, "require_api_key": "false", "log_level": "ERROR"}
    with ProductionServer(f"sqlite:///{path}", **settings) as server:
        with open_api(server.port) as api:
            deadline = time.monotonic() + PATIENCE
            while api.get("/health").status != 200:
                assert time.monotonic() < deadline
        yield server


class Clients:
    """Clients that create conversations and ask for the health, one request after another."""

    def __init__(self, server: ProductionServer) -> None:
        self._port = server.port
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        self.created: list[tuple[float, str]] = []  # when, and the id
        self.statuses: list[tuple[float, str, int]] = []  # when it was asked, what for, the answer

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with open_api(self._port) as api:
            while not self._ended.is_set():
                self._ask(api)

    def _ask(self, api: Api) -> None:
        asked = time.monotonic()
        answer = api.post(CONVERSATIONS, {"project_id": PROJECT})
        if answer.status == 201:
            self.created.append((time.monotonic(), answer.json["id"]))
        self.statuses.append((asked, "create", answer.status))
        asked = time.monotonic()
        self.statuses.append((asked, "health", api.get("/health").status))

    def answers(self, since: float, until: float) -> set[tuple[str, int]]:
        return {(what, status) for asked, what, status in self.statuses if since < asked < until}


def remove(path: str, *suffixes: str) -> None:
    for suffix in suffixes:
        Path(path + suffix).unlink(missing_ok=True)


def copy_of(path: str, folder: Path) -> Path:
    copy = folder / "copy.db"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def stored(server: ProductionServer, path: str) -> set[str]:
    """End the server, check the file, and return the ids of its conversations."""
    server.kill()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {id for (id,) in file.execute("SELECT id FROM conversation")}


WELL = {("create", 201), ("health", 200)}
ILL = {("create", 503), ("health", 503)}


def test_a_deleted_log_loses_nothing_that_was_acknowledged(server: ProductionServer, path: str):
    with Clients(server) as clients:
        time.sleep(0.5)
        remove(path, "-wal")
        recovered = time.monotonic() + RECOVERY_SECONDS
        time.sleep(2 * RECOVERY_SECONDS)
    assert clients.answers(recovered, time.monotonic()) == WELL
    assert {id for _, id in clients.created} <= stored(server, path)


@pytest.mark.parametrize("suffixes", [("", "-wal", "-shm", "-lock"), ("",)], ids=["all", "file"])
def test_a_deleted_database_is_503_until_it_is_restored(
    server: ProductionServer, path: str, tmp_path: Path, suffixes: tuple[str, ...]
):
    copy = copy_of(path, tmp_path)
    with Clients(server) as clients:
        time.sleep(0.5)
        remove(path, *suffixes)
        deleted = time.monotonic()
        time.sleep(2 * RECOVERY_SECONDS)
        assert not Path(path).exists()
        restored = time.monotonic()
        copy.rename(path)
        time.sleep(2 * RECOVERY_SECONDS)
        ended = time.monotonic()
    assert clients.answers(deleted + 0.2, restored - 0.1) == ILL
    assert clients.answers(restored + RECOVERY_SECONDS, ended) == WELL
    assert {id for when, id in clients.created if when > restored} <= stored(server, path)


def test_a_replaced_database_is_served_within_a_second(
    server: ProductionServer, path: str, tmp_path: Path
):
    copy = copy_of(path, tmp_path)
    with Clients(server) as clients:
        time.sleep(0.5)
        replaced = time.monotonic()
        copy.replace(path)
        time.sleep(2 * RECOVERY_SECONDS)
        ended = time.monotonic()
    assert clients.answers(replaced + RECOVERY_SECONDS, ended) == WELL
    created = {id for when, id in clients.created if when > replaced + 0.2}
    assert created
    assert created <= stored(server, path)
