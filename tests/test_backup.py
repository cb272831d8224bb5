"""Tests backups: each shows the database at one moment, or the command fails."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db import conversations, messages
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.messages import Draft
from db.scope import EVERYTHING
from db.upkeep import backup
from db.upkeep.backup import BackupError, back_up


def quietly(done: int, total: int) -> None:
    """Show no progress."""


def start(count: int = 0) -> str:
    conversation_id = conversations.start(EVERYTHING, "p", "Planning").id
    for number in range(count):
        messages.append(EVERYTHING, conversation_id, [Draft("user", str(number))])
    return conversation_id


def contents(file: Path | str) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return list(connection.iterdump())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.db"


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "STEP_PAGES", 1)


def test_a_backup_holds_everything_and_can_replace_the_database(store: SqliteStore, target: Path):
    conversation_id = start(count=3)
    back_up(store, target, quietly)
    store.close_all()
    assert contents(target) == contents(store.place)
    assert [file.name for file in target.parent.iterdir()] == ["copy.db"]

    restored = SqliteStore(str(target))
    database.initialize(restored)
    assert len(messages.page_for(EVERYTHING, conversation_id).rows) == 3
    restored.close_all()


def test_a_backup_may_have_special_characters_in_its_name(store: SqliteStore, tmp_path: Path):
    awkward = tmp_path / "a copy; 100% 'mine' #1?.db"
    back_up(store, awkward, quietly)
    assert "conversation" in "".join(contents(awkward))


@pytest.mark.usefixtures("small_steps")
def test_a_backup_shows_one_moment_whatever_is_written_meanwhile(store: SqliteStore, target: Path):
    start(count=20)
    store.close_all()
    before = contents(store.place)
    steps = []

    def write(done: int, total: int) -> None:
        steps.append((done, total))
        with closing(sqlite3.connect(store.place)) as other:
            other.execute("UPDATE conversation SET title = ?", [f"Step {len(steps)}"])
            other.execute(
                "INSERT INTO api_key (id, digest, created_at) VALUES (?, ?, 'now')", [done, done]
            )
            other.commit()

    back_up(store, target, write)
    assert contents(target) == before
    total = steps[0][1]
    assert total > 10
    # Each page is copied once: a write does not restart the backup.
    assert steps == [(done, total) for done in range(1, total + 1)]


@pytest.mark.usefixtures("small_steps")
def test_a_backup_made_among_busy_writers_is_consistent(store: SqliteStore, target: Path):
    ids = [start() for _ in range(3)]
    database.close()
    done = threading.Event()

    def write(conversation_id: str) -> None:
        while not done.is_set():
            messages.append(EVERYTHING, conversation_id, [Draft("user", "x" * 500)])
        database.close()

    writers = [threading.Thread(target=write, args=[id]) for id in ids]
    for writer in writers:
        writer.start()
    try:
        for number in range(5):
            back_up(store, target.with_name(f"{number}.db"), quietly)
    finally:
        done.set()
        for writer in writers:
            writer.join()
    found = []
    for number in range(5):
        with closing(sqlite3.connect(target.with_name(f"{number}.db"))) as copy:
            found += copy.execute("SELECT count(*) FROM message").fetchone()
            torn = copy.execute(
                "SELECT id FROM conversation WHERE version !="
                " (SELECT count(*) FROM message WHERE conversation_id = conversation.id)"
            )
            assert torn.fetchall() == []
    assert found == sorted(found)
    assert found[-1] > 0


def test_a_backup_of_a_database_with_a_rollback_journal_is_whole(tmp_path: Path, target: Path):
    store = SqliteStore(str(tmp_path / "journal.db"), journal_mode="delete")
    store.execute_sql("CREATE TABLE kept AS SELECT 1 AS one")
    back_up(store, target, quietly)
    store.close_all()
    assert contents(target) == contents(store.place)


def test_a_backup_does_not_replace_another_file(store: SqliteStore, target: Path):
    target.write_text("precious")
    with pytest.raises(BackupError, match="exists: choose another name"):
        back_up(store, target, quietly)
    assert target.read_text() == "precious"


def test_a_backup_replaces_an_earlier_one_if_told_to(store: SqliteStore, target: Path):
    back_up(store, target, quietly)
    conversation_id = start()
    back_up(store, target, quietly, replace=True)
    assert conversation_id in "".join(contents(target))


def test_a_database_is_not_replaced_by_its_own_backup(store: SqliteStore, tmp_path: Path):
    link = tmp_path / "link.db"
    link.symlink_to(store.place)
    for itself in (Path(store.place), link):
        with pytest.raises(BackupError, match="is the database itself"):
            back_up(store, itself, quietly, replace=True)


@pytest.mark.parametrize("journal", ["-wal", "-journal"])
def test_a_database_in_use_is_not_replaced_by_a_backup(
    store: SqliteStore, target: Path, journal: str
):
    back_up(store, target, quietly)
    before = contents(target)
    left = target.with_name(target.name + journal)
    left.touch()
    with pytest.raises(BackupError, match="is a database in use"):
        back_up(store, target, quietly, replace=True)
    left.unlink()
    assert contents(target) == before


@pytest.fixture
def rotten(store: SqliteStore) -> Iterator[SqliteStore]:
    """A damaged database: an index that lacks rows of its table."""
    start(count=3)
    store.execute_sql("PRAGMA writable_schema = 1")
    store.execute_sql(
        "UPDATE sqlite_master SET rootpage ="
        " (SELECT rootpage FROM sqlite_master WHERE name = 'idempotency_key_created_at')"
        " WHERE name = 'message_id_conversation_id'"
    )
    store.close_all()
    yield store
    store.close_all()


def test_a_damaged_database_does_not_replace_a_good_backup(rotten: SqliteStore, target: Path):
    target.write_text("good")
    with pytest.raises(BackupError, match="cannot be copied"):
        back_up(rotten, target, quietly, replace=True)
    assert target.read_text() == "good"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.usefixtures("small_steps")
def test_an_interrupted_backup_leaves_nothing(store: SqliteStore, target: Path):
    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(store, target, interrupt)
    assert list(target.parent.iterdir()) == []
    assert conversations.start(EVERYTHING, "p").project_id == "p"  # the database is not locked


@pytest.mark.parametrize("place", ["nowhere/copy.db", "file/copy.db", f"{'long' * 100}.db"])
def test_a_backup_that_cannot_be_written_says_so(store: SqliteStore, tmp_path: Path, place: str):
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match="cannot be written: "):
        back_up(store, tmp_path / place, quietly)


def test_a_backup_of_a_missing_database_is_refused(tmp_path: Path, target: Path):
    missing = SqliteStore(str(tmp_path / "missing.db"))
    with pytest.raises(BackupError, match="There is no database"):
        back_up(missing, target, quietly)
    assert not Path(missing.place).exists()
