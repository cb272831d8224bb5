"""What tests of faults share: how connections are kept, what is well, and what is not."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db import conversations
from db.engine import sqlite_connections
from db.engine.database import database, keeps_connection
from db.engine.sqlite import SqliteStore
from db.scope import EVERYTHING

from .clients import Answer, Api, assert_problem
from .world import PROJECT

CONVERSATIONS = "/api/v1/conversations"
NEW = {"project_id": PROJECT, "title": "new"}
SUFFIXES = ("", "-wal", "-shm", "-lock")


@pytest.fixture(params=["a thread for each request", "one thread for all"])
def each_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Connections are given back after each request, or kept by the thread."""
    token = keeps_connection.set(request.param == "one thread for all")
    yield
    keeps_connection.reset(token)


@pytest.fixture
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reads, and the health, look at the files each time."""
    monkeypatch.setattr(sqlite_connections, "LOOK_SECONDS", 0)
    monkeypatch.setattr("db.engine.sqlite.PROOF_SECONDS", 0)
    monkeypatch.setattr("db.engine.sqlite.FULL_SECONDS", 0)


def create(api: Api) -> Answer:
    return api.post(CONVERSATIONS, NEW)


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


def backup(store: SqliteStore, folder: Path) -> Path:
    """A copy of the database, in which there is a conversation `copied`."""
    conversations.start(EVERYTHING, PROJECT, "copied")
    copy = folder / "copy.db"
    with closing(sqlite3.connect(copy)) as target:
        store.connection().backup(target)
    database.close()
    return copy
