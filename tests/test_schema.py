"""Tests that migrations lead from any state to the schema of the models."""

import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pytest
from playhouse.schema_diff import diff_models

from app import app
from db import conversations, lists, messages
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.messages import Draft
from db.models import DERIVED_MODELS, MODELS
from db.scope import EVERYTHING
from db.settings import Settings
from db.startup import open_store
from db.upkeep import schema

from .support.clients import Api, InProcess, assert_problem

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in schema.DIRECTORY.glob("[0-9]*.py"))
INITIAL = "0001_initial"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the migrations, to which tests add later ones."""
    return Path(shutil.copytree(schema.DIRECTORY, tmp_path / "migrations"))


def add(directory: Path, name: str, *statements: str) -> None:
    body = "".join(f"    {statement}\n" for statement in statements)
    (directory / f"{name}.py").write_text(f"def up(migrator, db):\n{body}")


@pytest.fixture
def blank(tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty database that the models are bound to."""
    bound, blank = database.obj, SqliteStore(str(tmp_path / "blank.db"))
    database.initialize(blank)
    yield blank
    blank.close_all()
    database.initialize(bound)


def statements(store: SqliteStore) -> dict[str, str]:
    """Return the CREATE statements that SQLite keeps, with types, NOT NULL and keys.

    The migration alone makes the search index, which is no table of a model.
    """
    rows = store.execute_sql(
        "SELECT type || ' ' || name, sql FROM sqlite_master WHERE tbl_name != 'schema_migration' "
        "AND type != 'trigger' AND name NOT LIKE 'search_index%'"
    )
    return dict(rows.fetchall())


def recorded(store: SqliteStore) -> list[str]:
    return [name for (name,) in store.execute_sql("SELECT name FROM schema_migration ORDER BY id")]


def test_the_models_and_the_migrated_schema_have_the_same_columns_and_indexes(store: SqliteStore):
    assert not diff_models(store, [*MODELS, *DERIVED_MODELS])


def test_the_models_and_the_migrated_schema_are_made_by_the_same_statements(
    store: SqliteStore, blank: SqliteStore
):
    blank.create_tables([*MODELS, *DERIVED_MODELS])
    assert statements(store) == statements(blank)


def test_a_blank_file_gets_every_migration_in_order(blank: SqliteStore):
    assert schema.migrate(blank) == NAMES
    assert recorded(blank) == NAMES
    assert schema.version(blank) == NAMES[-1]


def test_an_empty_database_has_no_version(blank: SqliteStore):
    assert schema.version(blank) is None
    assert schema.pending(blank) == NAMES


def test_migrating_twice_changes_nothing(store: SqliteStore):
    before = statements(store), recorded(store)
    assert schema.migrate(store) == []
    assert (statements(store), recorded(store)) == before


# Rows as the first version wrote them. They must never change.
OLDEST_ROWS = """
    INSERT INTO conversation (id, project_id, title, is_archived, created_at, updated_at,
        last_message_id, version) VALUES ('0198c5a6-0000-7000-8000-000000000001', 'p', 'Planning',
        0, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z',
        '0198c5a6-0000-7000-8000-000000000002', 1);
    INSERT INTO message (conversation_id, position, id, role, content, content_type, status,
        created_at, updated_at, revision) VALUES ('0198c5a6-0000-7000-8000-000000000001', 1,
        '0198c5a6-0000-7000-8000-000000000002', 'user', 'Hello', 'text', 'completed',
        '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', 1);
"""
OLDEST_CONVERSATION = "0198c5a6-0000-7000-8000-000000000001"


@pytest.fixture
def oldest(blank: SqliteStore) -> SqliteStore:
    """A database of the first version, with data in it."""
    schema.runner(blank).up(INITIAL)
    blank.connection().executescript(OLDEST_ROWS)
    blank.close()
    return blank


def test_the_oldest_schema_is_brought_up_to_date_with_its_data(oldest: SqliteStore):
    assert schema.migrate(oldest) == [name for name in NAMES if name != INITIAL]
    assert not diff_models(oldest, MODELS)
    assert conversations.find(EVERYTHING, OLDEST_CONVERSATION).title == "Planning"
    assert [m.content for m in messages.page_for(EVERYTHING, OLDEST_CONVERSATION).rows] == ["Hello"]


def test_a_conversation_of_the_oldest_schema_is_a_line_with_an_activity(oldest: SqliteStore):
    schema.migrate(oldest)
    row = conversations.find(EVERYTHING, OLDEST_CONVERSATION)
    assert row.activity == row.last_message_id
    assert (row.key, row.tags, row.metadata) == (None, None, None)
    assert not any((row.is_pinned, row.is_held, row.is_branched))
    assert lists.newest(EVERYTHING, sort=lists.ACTIVITY).rows == [row]
    (first,) = messages.page_for(EVERYTHING, OLDEST_CONVERSATION).rows
    (second,) = messages.append(EVERYTHING, OLDEST_CONVERSATION, [Draft("user", "Bye")])
    assert (first.parent_id, second.parent_id) == (None, first.id)


# Keys as the first version wrote them, for a chat and for another request. They must never change.
OLDEST_KEYS = """
    INSERT INTO idempotency_key VALUES
        ('c', 'chat', 'f', '2026-01-01T00:00:00.000Z', 200, '{}', '["1","2"]'),
        ('c', 'create', 'f', '2026-01-01T00:00:00.000Z', 201,
            '{"Content-Type":"application/json"}', '{"id":"1"}');
"""


def test_a_chats_key_of_the_oldest_schema_becomes_a_reference(oldest: SqliteStore):
    oldest.connection().executescript(OLDEST_KEYS)
    before = statements(oldest)
    schema.migrate(oldest)
    kept = "SELECT key, status, headers, body, reference FROM idempotency_key ORDER BY key"
    assert oldest.execute_sql(kept).fetchall() == [
        ("chat", None, None, None, '["1","2"]'),
        ("create", 201, '{"Content-Type":"application/json"}', '{"id":"1"}', None),
    ]
    while schema.version(oldest) != INITIAL:
        oldest.alone(schema.runner(oldest).down)
    assert statements(oldest) == before
    kept = "SELECT status, headers, body FROM idempotency_key WHERE key = 'chat'"
    assert oldest.execute_sql(kept).fetchone() == (200, "{}", '["1","2"]')


def test_a_later_migration_finds_the_data_that_is_there(oldest: SqliteStore, directory: Path):
    add(
        directory,
        "9998_add_language",
        "from peewee import TextField",
        "migrator.migrate(migrator.add_column('conversation', 'language', TextField(default='')))",
        "db.execute_sql(\"UPDATE conversation SET language = 'en' WHERE title = 'Planning'\")",
    )
    assert schema.migrate(oldest, directory)[-1] == "9998_add_language"
    assert oldest.execute_sql("SELECT language FROM conversation").fetchall() == [("en",)]
    assert schema.migrate(oldest, directory) == []


@pytest.mark.usefixtures("no_trash")
def test_a_table_can_be_rewritten_without_losing_rows_that_refer_to_it(
    oldest: SqliteStore, directory: Path
):
    schema.migrate(oldest)
    before = statements(oldest)
    add(
        directory,
        "9998_rewrite",
        "made = dict(db.execute_sql(",
        "    \"SELECT name, sql FROM sqlite_master WHERE tbl_name = 'conversation'\"))",
        "table = made.pop('conversation')",
        "db.execute_sql(table.replace('conversation', 'rewritten', 1))",
        "db.execute_sql('INSERT INTO rewritten SELECT * FROM conversation')",
        "db.execute_sql('DROP TABLE conversation')",
        "db.execute_sql('ALTER TABLE rewritten RENAME TO conversation')",
        "for index in made.values():",
        "    db.execute_sql(index)",
    )
    schema.migrate(oldest, directory)
    assert statements(oldest) == before
    assert len(messages.page_for(EVERYTHING, OLDEST_CONVERSATION).rows) == 1
    assert oldest.pragma("foreign_keys") == 1
    conversations.remove(EVERYTHING, OLDEST_CONVERSATION)
    assert oldest.execute_sql("SELECT count(*) FROM message").fetchone() == (0,)


def test_a_migration_that_would_leave_orphans_is_rolled_back(oldest: SqliteStore, directory: Path):
    schema.migrate(oldest)
    add(directory, "9998_lose", "db.execute_sql('DELETE FROM conversation')")
    with pytest.raises(peewee.IntegrityError, match="rows of message"):
        schema.migrate(oldest, directory)
    assert recorded(oldest)[-1] != "9998_lose"
    assert conversations.find(EVERYTHING, OLDEST_CONVERSATION).title == "Planning"
    assert oldest.pragma("foreign_keys") == 1


@pytest.mark.parametrize(
    "fault", ["raise ValueError('in the middle')", "db.execute_sql('SELECT * FROM nowhere')"]
)
def test_migrations_stopped_midway_leave_nothing_half_done(
    oldest: SqliteStore, directory: Path, fault: str
):
    before = statements(oldest), recorded(oldest)
    add(directory, "9998_whole", "db.execute_sql('CREATE TABLE topic (id TEXT)')")
    create = "db.execute_sql('CREATE TABLE language (id TEXT)')"
    add(directory, "9999_broken", create, "db.execute_sql('DROP TABLE event')", fault)
    with pytest.raises((ValueError, peewee.OperationalError)):
        schema.migrate(oldest, directory)
    assert (statements(oldest), recorded(oldest)) == before

    add(directory, "9999_broken", create)
    assert schema.migrate(oldest, directory)[-2:] == ["9998_whole", "9999_broken"]


def test_a_process_killed_in_a_migration_leaves_nothing_half_done(
    oldest: SqliteStore, directory: Path
):
    before = statements(oldest), recorded(oldest)
    add(
        directory,
        "9999_killed",
        "import os, signal",
        "db.execute_sql('CREATE TABLE language (id TEXT)')",
        "db.execute_sql('DELETE FROM message')",
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    oldest.close_all()
    migrating = multiprocessing.get_context("spawn").Process(
        target=migrate_file, args=(oldest.place, directory)
    )
    migrating.start()
    migrating.join(60)
    assert migrating.exitcode == -9
    assert (statements(oldest), recorded(oldest)) == before
    assert oldest.execute_sql("SELECT count(*) FROM message").fetchone() == (1,)


def migrate_file(path: str, directory: Path) -> None:
    schema.migrate(SqliteStore(path), directory)


def test_a_schema_can_be_taken_down_and_put_up_again(store: SqliteStore):
    before = statements(store)
    with store.connection_context():
        for _ in recorded(store):
            store.alone(schema.runner(store).down)
    assert statements(store) == {}
    assert schema.version(store) is None
    schema.migrate(store)
    assert statements(store) == before


def test_serving_goes_on_with_a_schema_newer_than_the_code(store: SqliteStore, directory: Path):
    add(directory, "9999_later", "db.execute_sql('CREATE TABLE later (id TEXT)')")
    schema.migrate(store, directory)
    assert schema.migrate(store) == []
    assert schema.version(store) == "9999_later"
    assert conversations.start(EVERYTHING, "p").project_id == "p"


PROCESSES = 8
_together: Any = None  # the barrier that the processes share


def _meet_at(barrier: Any) -> None:
    global _together
    _together = barrier


def _start_serving(url: str) -> tuple[int, str]:
    _together.wait(60)
    store = open_store(Settings.read({"DATABASE_URL": url}))
    try:
        conversations.start(EVERYTHING, "p")
        return os.getpid(), store.pragma("journal_mode")
    finally:
        store.close_all()


def test_processes_that_start_together_on_a_new_file_all_succeed(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        PROCESSES, spawn, initializer=_meet_at, initargs=(spawn.Barrier(PROCESSES),)
    ) as pool:
        for number in range(12):
            journal_mode = "delete" if number % 4 == 0 else "wal"
            file = tmp_path / f"{number}.db"
            url = f"sqlite:///{file}?journal_mode={journal_mode}"
            started = list(pool.map(_start_serving, [url] * PROCESSES, timeout=120))
            assert len({pid for pid, _ in started}) == PROCESSES
            assert {mode for _, mode in started} == {journal_mode}
            with closing(sqlite3.connect(file)) as found:
                names = found.execute("SELECT name FROM schema_migration ORDER BY id").fetchall()
                assert names == [(name,) for name in NAMES]
                assert found.execute("SELECT count(*) FROM conversation").fetchone() == (PROCESSES,)
                assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_is_changed_to_wal_as_soon_as_its_writer_is_done(tmp_path: Path):
    file = tmp_path / "rollback-journal.db"
    with closing(sqlite3.connect(file, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, writer.rollback).start()
        store = SqliteStore(str(file))
        assert store.pragma("journal_mode") == "wal"
        store.close_all()


@pytest.fixture
def unopened(configure: Callable[..., None], tmp_path: Path) -> Iterator[Path]:
    """The file that the first request will open. There has been no request yet."""
    bound, file = database.obj, tmp_path / "new.db"
    configure(database_url=f"sqlite:///{file}")
    database.initialize(None)
    yield file
    if database.obj:
        database.obj.close_all()
    database.initialize(bound)


def test_concurrent_first_requests_all_find_the_schema(unopened: Path):
    def first_request(_: int) -> int:
        key = {"X-API-Key": "unknown"}  # makes the request read the database
        return Api(InProcess(app)).get("/api/v1/conversations", headers=key).status

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(first_request, range(8))) == [401] * 8


def test_a_first_request_that_finds_the_database_locked_leaves_the_opening_to_the_next(
    unopened: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SqliteStore.PRAGMAS, "busy_timeout", 20)
    api = Api(InProcess(app))
    with closing(sqlite3.connect(unopened)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert_problem(api.get("/health"), 503, "unavailable")
    assert api.get("/health").json["schema"] == NAMES[-1]


# `chalice local` sets up the root logger like this before it serves.
SERVE = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
from chalice.test import Client
from app import app
assert Client(app).http.get("/health").status_code == 200
"""


def test_applied_migrations_are_reported_in_the_servers_log_and_nowhere_else(tmp_path: Path):
    served = subprocess.run(
        [sys.executable, "-c", SERVE],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/new.db"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert served.stdout == ""
    told = [json.loads(line).get("message") for line in served.stderr.splitlines()]
    assert told[: len(NAMES)] == [f"Applied migration {name}" for name in NAMES]
