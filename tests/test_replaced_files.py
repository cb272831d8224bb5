"""Tests what a server answers when its database or its log was deleted or replaced."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from db import conversations
from db.engine.group_commit import Group
from db.engine.sqlite import SqliteStore
from db.errors import Unavailable
from db.scope import EVERYTHING

from .support.clients import Api, assert_problem
from .support.faults import (
    CONVERSATIONS,
    SUFFIXES,
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
