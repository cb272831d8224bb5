"""A SQLite file as the store, the default: its pragmas, its one writer, its connections."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from peewee import (  # type: ignore[attr-defined]
    IntegrityError,
    Model,
    OperationalError,
    Query,
    SqliteDatabase,
    sqlite3,  # or pysqlite3, if that is newer
)
from peewee import __exception_wrapper__ as as_peewee_errors  # type: ignore[attr-defined]

from ..settings import SettingsError
from .database import write_patience
from .writer_lock import WriterLock

T = TypeVar("T")

IDLE_CONNECTIONS = 32  # kept at most; each has two open files
OLDEST_SQLITE = (3, 35)  # it has ALTER TABLE … DROP COLUMN, which migrations use


class OpenGroup(Protocol):
    """A transaction that is open for the writes of one thread (`group_commit.Group`)."""

    def write(self, verb: Callable[[], T]) -> T: ...
    def write_one(self, statement: Callable[[], T]) -> T: ...


class SqliteStore(SqliteDatabase):
    """A SQLite file.

    Peewee has a connection for each thread, and a server's requests come on many. Opening one
    costs more than most requests, so a connection that is closed is kept for the next thread.
    (Playhouse's pool does so, too. Its bookkeeping for limits and lost connections, which a file
    does not need, costs 4 µs a request.)
    """

    engine = "sqlite"
    PRAGMAS: dict[str, Any] = {
        "busy_timeout": 10_000,  # milliseconds; the first one, so that the next ones wait, too
        "journal_mode": "wal",
        # An acknowledged write survives a power cut. A commit takes 108 µs, and 13 with NORMAL.
        "synchronous": "full",
        "foreign_keys": 1,
        # Pages: 16 MB. A page that many appends changed is copied into the file once. So an append
        # writes 22 KB to file and log, on eight connections; with SQLite's default of 1,000, 29 KB.
        "wal_autocheckpoint": 4_000,
        "cache_size": -16_000,  # KiB
        "temp_store": "memory",
    }
    CHOICES = {
        "journal_mode": {"wal", "delete", "truncate", "persist"},
        "synchronous": {"full", "extra", "normal", "off"},
    }

    def __init__(self, path: str, **pragmas: str) -> None:
        """Raises SettingsError if the SQLite library is too old."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise SettingsError(
                f"SQLite {sqlite3.sqlite_version} is too old: at least 3.35 is needed, which is in "
                "Lambda's runtimes from python3.12 on, and in the zip of STAGE=efs."
            )
        # EFS has no WAL and one process, so it needs no lock between processes.
        is_shared = pragmas.get("journal_mode", self.PRAGMAS["journal_mode"]) == "wal"
        self.busy_timeout = int(pragmas.get("busy_timeout", self.PRAGMAS["busy_timeout"]))
        self.writer = WriterLock(f"{path}-lock" if is_shared else None, self.busy_timeout / 1000)
        # The open group of writes, and the thread whose requests are in it.
        self.group: OpenGroup | None = None
        self.group_thread: int | None = None
        self._idle: deque[sqlite3.Connection] = deque()
        super().__init__(path, pragmas={**self.PRAGMAS, **pragmas}, check_same_thread=False)

    @property
    def place(self) -> str:
        """Where the rows are, for people; without secrets."""
        return str(self.database)

    @property
    def size(self) -> int | None:
        """Bytes on disk, with those still in the write-ahead log. None if there is no file yet."""
        file, log = Path(self.place), Path(f"{self.place}-wal")
        if not file.exists():
            return None
        return file.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def _set_pragmas(self, conn: sqlite3.Connection) -> None:
        # Processes that start together on a new file change it to WAL at the same moment. SQLite
        # ignores its busy timeout where waiting could end in a deadlock, and fails. So wait here.
        deadline = time.monotonic() + self.PRAGMAS["busy_timeout"] / 1000
        while True:
            try:
                return super()._set_pragmas(conn)  # type: ignore[misc]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return super()._connect()  # type: ignore[misc]

    def close(self) -> bool:
        if self.group_thread == threading.get_ident():
            return False  # the next request of the group needs the connection
        return super().close()

    def _close(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def close_all(self) -> None:
        """Close this thread's connection and the idle ones. The last one closes the file."""
        self.close()
        while self._idle:
            self._idle.pop().close()

    def write(self, verb: Callable[[], T]) -> T:
        """Run `verb` in a transaction, or in a savepoint of this thread's group."""
        if self.group_thread == threading.get_ident():
            return self.group.write(verb)  # type: ignore[union-attr]
        with self._turn(), self.atomic("IMMEDIATE"):
            return verb()

    def write_one(self, statement: Callable[[], T]) -> T:
        """The same for a single statement, which is a transaction by itself."""
        if self.group_thread == threading.get_ident():
            return self.group.write_one(statement)  # type: ignore[union-attr]
        with self._turn():
            return statement()

    def _turn(self) -> AbstractContextManager[None]:
        """The turn to write, after a wait that is as long as this thread may wait."""
        patience = write_patience.get()
        return self.writer if patience is None else self._hurried_turn(patience)

    @contextmanager
    def _hurried_turn(self, patience: float) -> Iterator[None]:
        if not self.writer.acquire(patience=patience):
            raise OperationalError("database is locked: another writer is at work")
        try:
            self.pragma("busy_timeout", int(patience * 1000))
            yield
        finally:
            self.pragma("busy_timeout", self.busy_timeout)
            self.writer.release()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: every query in it sees the same state.

        It is begun by plain SQL, since Peewee's bookkeeping for nested writes takes 7 µs of a
        read's 60.
        """
        if self.in_transaction() or self.group_thread == threading.get_ident():
            yield
            return
        connection = self.connection()  # type: ignore[no-untyped-call]
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("COMMIT")

    def stream(self, query: Query) -> Iterator[tuple[Any, ...]]:
        """The rows of `query`, read one by one. To be called in a snapshot."""
        return iter(self.execute(query))  # type: ignore[no-untyped-call]

    def load(self, model: type[Model], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows, whose values are in the order of the model's fields."""
        columns = ", ".join(f'"{column}"' for column in model._meta.sorted_field_names)
        values = ", ".join("?" for _ in model._meta.sorted_fields)
        into = f'INSERT INTO "{model._meta.table_name}" ({columns}) VALUES ({values})'  # noqa: S608
        with as_peewee_errors:
            self.cursor().executemany(into, rows)  # type: ignore[no-untyped-call]

    def alone(self, change: Callable[[], T]) -> T:
        """Run a change of the schema while nobody writes.

        Foreign keys are not enforced until its end, since SQLite alters a table by dropping its old
        form. They are checked then. The pragma works outside of transactions only.
        """

        def checked() -> T:
            result = change()
            orphan = self.execute_sql("PRAGMA foreign_key_check").fetchone()  # type: ignore[no-untyped-call]
            if orphan:
                raise IntegrityError(f"rows of {orphan[0]} would be left without their {orphan[2]}")
            return result

        self.pragma("foreign_keys", 0)
        try:
            return self.write(checked)
        finally:
            self.pragma("foreign_keys", 1)
