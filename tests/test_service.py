"""Tests `/health`."""

from pathlib import Path

import pytest

from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.upkeep.schema import DIRECTORY
from handlers.service import Health, health

from .support.clients import Api, assert_problem

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
