"""Tests `python -m db copy`: every row arrives on either engine, or the copy fails."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from db import conversations, lists
from db.__main__ import cli
from db.engine.connect import Store, store_at
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.models import MODELS, ApiKey, Message
from db.scope import EVERYTHING
from db.settings import settings
from db.upkeep import copying, schema
from db.upkeep.copying import CopyError

from .support.rows import store_rows_of_every_kind
from .support.world import PROJECT


class Bars:
    """Invisible progress bars. They record their steps and call `on_step` at each one."""

    def __init__(self, on_step: Callable[[], None] = lambda: None) -> None:
        self.steps: dict[str, list[int]] = {}
        self.lengths: dict[str, int] = {}
        self._on_step = on_step

    @contextmanager
    def __call__(self, label: str, length: int) -> Iterator["Bars"]:
        self.lengths[label] = length
        self.steps[label] = self._current = []
        yield self

    def update(self, n_steps: int) -> None:
        self._current.append(n_steps)
        self._on_step()


@pytest.fixture(autouse=True)
def rows() -> None:
    """Rows of every kind that a store can hold."""
    store_rows_of_every_kind()


@pytest.fixture
def empty_url(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """`empty_url("sqlite")` and `empty_url("postgresql")` return the URL of an empty database."""
    numbers = count(1)

    def make(engine: str) -> str:
        if engine == "sqlite":
            return f"sqlite:///{tmp_path}/empty_{next(numbers)}.db"
        return request.getfixturevalue("postgres").blank()

    return make


@pytest.fixture
def empty(empty_url: Callable[[str], str]) -> Iterator[Callable[[str], Store]]:
    """`empty("sqlite")` and `empty("postgresql")` open an empty database."""
    with ExitStack() as stack:
        yield lambda engine: stack.enter_context(closing_all(store_at(empty_url(engine))))


@contextmanager
def closing_all(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        store.close_all()


def contents(store: SqliteStore) -> dict[str, list[Any]]:
    """Return all rows of a file as SQLite stores them, with the types of their values.

    A copy has no search index, so it says of no row up to which version that goes.
    """
    columns = {
        model._meta.table_name: ", ".join(
            f'"{name}"' for name in model._meta.sorted_field_names if name != "indexed_version"
        )
        for model in MODELS
    }
    with closing(sqlite3.connect(store.place)) as connection:
        return {
            table: [
                [(value, type(value)) for value in row]
                for row in sorted(connection.execute(f"SELECT {names} FROM {table}"), key=repr)
            ]
            for table, names in columns.items()
        }


def counts(store: Store) -> list[int]:
    found = [
        store.execute_sql(f"SELECT count(*) FROM {model._meta.table_name}").fetchone()[0]
        for model in MODELS
    ]
    store.close()
    return found


def test_rows_come_back_from_postgresql_as_they_were(
    store: SqliteStore, empty: Callable[[str], Store]
):
    server, back = empty("postgresql"), empty("sqlite")
    there = copying.copy(store, server, Bars())
    here = copying.copy(server, back, Bars())
    before = contents(store)
    assert all(before.values())
    assert contents(back) == before
    assert there == here
    assert {tally.table: tally.rows for tally in there} == {t: len(r) for t, r in before.items()}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_rows_go_to_another_database_of_the_same_engine(
    store: SqliteStore, empty: Callable[[str], Store], engine: str
):
    first, second, back = empty(engine), empty(engine), empty("sqlite")
    for source, target in ((store, first), (first, second), (second, back)):
        copying.copy(source, target, Bars())
    assert contents(back) == contents(store)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_copy_is_ready_to_serve(store: SqliteStore, empty: Callable[[str], Store], engine: str):
    target = empty(engine)
    copying.copy(store, target, Bars())
    assert not schema.pending(target)
    assert not target.table_exists("copied_table")


def test_progress_counts_every_row_copied_and_compared(
    store: SqliteStore, empty: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(copying, "BATCH_ROWS", 7)
    bars = Bars()
    copying.copy(store, empty("sqlite"), bars)
    total = sum(counts(store))
    assert bars.lengths == {"Copying": total, "Comparing": 2 * total}
    assert {label: sum(steps) for label, steps in bars.steps.items()} == bars.lengths
    assert max(bars.steps["Copying"]) == 7


def test_long_messages_make_small_batches(
    store: SqliteStore, empty: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(copying, "BATCH_CODE_POINTS", 0)
    bars = Bars()
    copying.copy(store, empty("sqlite"), bars)
    assert set(bars.steps["Copying"]) == {0, 1}


# Interrupted copies


def in_another_thread(verb: Callable[[], object]) -> None:
    def run() -> None:
        verb()
        database.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


class Stopped(Exception):
    """Stands for Ctrl-C or a lost network."""


def stop() -> None:
    raise Stopped


def copy_until_killed(source: str, target: str, batch: int) -> None:
    """Copy in small batches, and die in the batch with this number."""
    copying.BATCH_ROWS = 5
    store, begun = store_at(target), count(1)
    load = store.load

    def load_and_die(model: Any, rows: list[Any]) -> None:
        load(model, rows)
        if next(begun) == batch:
            os.kill(os.getpid(), signal.SIGKILL)

    store.load = load_and_die
    copying.copy(store_at(source), store, Bars())


@pytest.mark.parametrize(("engine", "batch"), [("sqlite", 1), ("sqlite", 9), ("postgresql", 12)])
def test_a_copy_that_was_killed_resumes_where_it_stopped(
    store: SqliteStore,
    empty: Callable[[str], Store],
    empty_url: Callable[[str], str],
    engine: str,
    batch: int,
):
    url = empty_url(engine)
    killed = multiprocessing.get_context("spawn").Process(
        target=copy_until_killed, args=(settings().database_url, url, batch)
    )
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL

    with closing_all(store_at(url)) as target:
        there = sum(counts(target))
        assert (there > 0) == (batch > 1)
        loaded: list[Any] = []
        load = target.load
        target.load = lambda model, rows: (loaded.extend(rows), load(model, rows))
        copying.copy(store, target, Bars())
        assert len(loaded) == sum(counts(store)) - there
        back = empty("sqlite")
        copying.copy(target, back, Bars())
    assert contents(back) == contents(store)


def test_an_unfinished_copy_cannot_be_the_source(store: SqliteStore, empty: Callable[[str], Store]):
    target = empty("sqlite")
    with pytest.raises(Stopped):
        copying.copy(store, target, Bars(stop))
    with pytest.raises(CopyError, match="finish it first"):
        copying.copy(target, empty("sqlite"), Bars())


# Copies that differ from their source


def test_rows_written_during_a_copy_are_not_copied(
    store: SqliteStore, empty: Callable[[str], Store]
):
    before, target = contents(store), empty("sqlite")
    new = iter([lambda: conversations.start(EVERYTHING, PROJECT, "Too late")])

    def write_once() -> None:
        for verb in new:
            in_another_thread(verb)

    copying.copy(store, target, Bars(write_once))
    assert contents(target) == before
    assert len(contents(store)["conversation"]) == len(before["conversation"]) + 1


def test_a_source_that_changed_before_the_copy_resumed_is_detected(
    store: SqliteStore, empty: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(copying, "BATCH_ROWS", 5)
    target = empty("sqlite")
    steps = count(1)
    with pytest.raises(Stopped):
        copying.copy(store, target, Bars(lambda: stop() if next(steps) == 4 else None))
    conversations.change(EVERYTHING, lists.newest(EVERYTHING).rows[-1].id, title="New")
    database.close()
    with pytest.raises(CopyError, match=r"empty it, .* other contents in conversation"):
        copying.copy(store, target, Bars())


def change_a_letter(model: Any, rows: list[Any]) -> list[Any]:
    index = [field.name for field in model._meta.sorted_fields].index("content")
    row = list(rows[0])
    row[index] += "."
    return [tuple(row), *rows[1:]]


def lose_a_row(_: Any, rows: list[Any]) -> list[Any]:
    return rows[:-1]


def make_nothing_of_an_empty_text(model: Any, rows: list[Any]) -> list[Any]:
    index = [field.name for field in model._meta.sorted_fields].index("metadata")
    return [(*row[:index], row[index] or "", *row[index + 1 :]) for row in rows]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("damage", [change_a_letter, lose_a_row, make_nothing_of_an_empty_text])
def test_a_copy_that_is_not_the_same_is_an_error(
    store: SqliteStore, empty: Callable[[str], Store], engine: str, damage: Callable[..., Any]
):
    target = empty(engine)
    load = target.load
    target.load = lambda model, rows: load(model, damage(model, rows) if model is Message else rows)
    with pytest.raises(CopyError, match=r"did not become the same as .* in message\."):
        copying.copy(store, target, Bars())


# The command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["copy", *arguments], prog_name="python -m db")


def test_the_command_prints_rows_and_checksum_of_each_table(store: SqliteStore, tmp_path: Path):
    outcome = run("--to", f"sqlite:///{tmp_path}/target.db")
    assert outcome.exit_code == 0, outcome.output
    heading, *lines = (line.split() for line in outcome.stdout.splitlines())
    assert heading == ["TABLE", "ROWS", "CHECKSUM"]
    tables = {name: len(rows) for name, rows in contents(store).items()}
    assert {table: int(number) for table, number, _ in lines} == tables
    assert all(len(checksum) == 32 for *_, checksum in lines)


def test_a_target_with_rows_is_left_alone(store: SqliteStore, postgres_url: str):
    with closing_all(store_at(postgres_url)) as target, target.bind_ctx([ApiKey]):
        ApiKey.create(id="1", digest="2", created_at="3")
    outcome = run("--to", postgres_url)
    assert outcome.exit_code == 1
    assert outcome.stderr.endswith("has rows already: name an empty database.\n")
    assert outcome.stderr.count("\n") == 1
    assert "secret" not in outcome.stderr


def test_the_source_cannot_be_the_target(store: SqliteStore):
    outcome = run("--to", f"sqlite:///{store.place}")
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "has rows already" in outcome.stderr


def test_schemas_that_differ_are_not_mixed(store: SqliteStore, empty: Callable[[str], Store]):
    target = empty("sqlite")
    schema.migrate(target)
    target.execute_sql("DELETE FROM schema_migration WHERE name != '0001_initial'")
    outcome = run("--to", f"sqlite:///{target.place}")
    assert outcome.exit_code == 1
    assert "run python -m db migrate for both." in outcome.stderr


def test_a_missing_source_is_not_created(tmp_path: Path, configure: Callable[..., None]):
    configure(database_url=f"sqlite:///{tmp_path}/missing.db")
    outcome = run("--to", f"sqlite:///{tmp_path}/target.db")
    assert outcome.exit_code == 1
    assert outcome.stderr == f"Error: There is no database at {tmp_path}/missing.db.\n"
    assert sorted(path.name for path in tmp_path.glob("[mt]*.db")) == []


def test_a_copy_to_an_unreachable_target_can_be_run_again():
    pytest.importorskip("psycopg")
    outcome = run("--to", "postgresql://confab:secret@127.0.0.1:1/confab")
    assert outcome.exit_code == 1
    assert outcome.stderr.endswith("Run it again to go on from here.\n")
    assert "secret" not in outcome.stderr


@pytest.mark.parametrize("url", ["mysql://localhost/confab", "postgresql://", "sqlite:////tmp"])
def test_an_unusable_target_url_is_a_usage_error(url: str):
    outcome = run("--to", url)
    assert outcome.exit_code == 2
    assert "Invalid value for --to: The URL is not usable: " in outcome.stderr


def test_a_terminal_sees_the_progress(tmp_path: Path):
    controller, terminal = os.openpty()
    subprocess.run(
        [sys.executable, "-m", "db", "copy", "--to", f"sqlite:///{tmp_path}/target.db"],
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        check=True,
    )
    seen = os.read(controller, 100_000).decode()
    os.close(controller)
    os.close(terminal)
    assert "Copying" in seen
    assert "Comparing" in seen
    assert "100%" in seen
