"""Tests `/health`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from db import conversations
from db.engine.connect import Store
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.errors import Unavailable
from db.scope import EVERYTHING
from db.settings import Settings
from db.startup import open_store
from db.upkeep.schema import DIRECTORY
from handlers.service import Health, health

from .support.clients import Api, assert_problem
from .support.postgres import Server

NEWEST = max(path.stem for path in DIRECTORY.glob("[0-9]*.py"))


def test_health_names_engine_and_schema():
    assert health() == Health(status="ok", database="sqlite", schema=NEWEST)


@pytest.mark.parametrize("path", ["/health", "/health/"])
def test_health_is_open_to_everybody(api: Api, path: str):
    answer = api.get(path, headers={"X-API-Key": None})
    assert answer.status == 200
    assert list(answer.json.items()) == [
        ("status", "ok"), ("database", "sqlite"), ("schema", NEWEST)
    ]  # fmt: skip


def test_health_is_503_while_the_database_is_away(api: Api, store: SqliteStore, tmp_path: Path):
    store.close_all()
    away = tmp_path.rename(tmp_path.with_name("away"))
    answer = api.get("/health")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    away.rename(tmp_path)
    assert api.get("/health").status == 200


def test_the_first_request_opens_the_database(api: Api):
    database.initialize(None)
    assert api.get("/health").status == 200
    database.obj.close_all()


def test_health_commits_only_if_nothing_was_committed_lately(store: SqliteStore):
    conversations.start(EVERYTHING, "p")
    log = Path(f"{store.place}-wal")
    size = log.stat().st_size
    health()
    assert log.stat().st_size == size
    store._stored_at = 0
    health()
    assert log.stat().st_size > size
    assert store.pragma("user_version") == 0


@pytest.fixture
def server_store(postgres: Server) -> Iterator[Store]:
    store = open_store(Settings(database_url=postgres.migrated()))
    yield store
    store.close_all()


@pytest.mark.parametrize("scope", ["DATABASE {0}", "ROLE ALL IN DATABASE {0}"])
def test_health_is_503_while_a_database_server_takes_no_writes(
    server_store: Store, api: Api, scope: str
):
    alter = f"ALTER {scope.format(server_store.database)} SET default_transaction_read_only"
    server_store.execute_sql("SET default_transaction_read_only = on")
    server_store.close()
    assert_problem(api.get("/health"), 503, "unavailable")
    assert api.get("/health").status == 200  # the connection that may only read is closed
    server_store.execute_sql("SET default_transaction_read_only = on")
    with pytest.raises(Unavailable, match="read-only"):
        conversations.start(EVERYTHING, "p")
    conversations.start(EVERYTHING, "p")
    server_store.execute_sql(f"{alter} = on")
    server_store.close_all()
    for _ in range(2):
        assert_problem(api.get("/health"), 503, "unavailable")
        with pytest.raises(Unavailable, match="read-only"):
            conversations.start(EVERYTHING, "p")
    server_store.execute_sql("SET default_transaction_read_only = off")
    server_store.execute_sql(f"{alter} = off")
    server_store.close_all()
    assert api.get("/health").status == 200
    conversations.start(EVERYTHING, "p")
