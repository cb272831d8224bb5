"""Backup: a copy of a whole SQLite database in one file, made while others read and write."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from peewee import sqlite3  # type: ignore[attr-defined]  # the one that connects to the store

from ..engine.connect import Store
from ..engine.sqlite import SqliteStore

STEP_PAGES = 2_000  # copied between two signs of progress: 8 MB

# It is called with the number of pages that are copied, and the number that there are.
OnPages = Callable[[int, int], object]


class BackupError(Exception):
    """One sentence that says why there is no backup."""


def back_up(store: Store, target: Path, progress: OnPages, replace: bool = False) -> None:
    """Copy the database, as it is at this moment, into the file `target`.

    The file gets its name when it is whole and was found sound. So nobody ever meets half a backup,
    and a bad one never takes the place of a good one. With WAL nobody waits meanwhile; with a
    rollback journal, writers do. Raises BackupError.
    """
    if not isinstance(store, SqliteStore):
        raise BackupError(f"{store.place} is not a SQLite file: use the server's own pg_dump.")
    if store.size is None:
        raise BackupError(f"There is no database at {store.place} yet.")
    try:
        _refuse_target(store, target, replace)
        with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
            part = Path(folder, target.name)
            with closing(sqlite3.connect(part)) as copy:
                _copy(store, copy, progress)
                _check(copy)
            part.replace(target)
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}.") from None
    except sqlite3.Error as error:
        raise BackupError(f"{store.place} cannot be copied to {target}: {error}.") from None


def _refuse_target(store: SqliteStore, target: Path, replace: bool) -> None:
    if target.exists() and target.samefile(store.place):
        raise BackupError(f"{target} is the database itself.")
    for journal in (f"{target}-wal", f"{target}-journal"):
        # SQLite would apply it to the new file, and so destroy it.
        if Path(journal).exists():
            raise BackupError(f"{target} is a database in use: it has a {journal}.")
    if target.exists() and not replace:
        raise BackupError(f"{target} exists: choose another name, or replace it with --force.")


def _copy(store: SqliteStore, copy: sqlite3.Connection, progress: OnPages) -> None:
    # Without a snapshot, SQLite begins again from the first page whenever another process writes.
    with store.connection_context(), store.snapshot():
        connection: sqlite3.Connection = store.connection()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # begins the snapshot
        connection.backup(
            copy,
            pages=STEP_PAGES,
            progress=lambda _, remaining, total: progress(total - remaining, total),
        )


def _check(copy: sqlite3.Connection) -> None:
    (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)
