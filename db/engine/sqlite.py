"""A SQLite file as the store, the default: its pragmas, its transactions, its one writer."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from peewee import (  # type: ignore[attr-defined]
    IntegrityError,
    Model,
    OperationalError,
    PeeweeException,
    Query,
    SqliteDatabase,
    sqlite3,  # or pysqlite3, if that is newer
)
from peewee import __exception_wrapper__ as as_peewee_errors  # type: ignore[attr-defined]

from ..errors import Unavailable
from ..settings import SettingsError
from .database import may_wait
from .sqlite_connections import (
    BUSY,
    FULL,
    IOERR_WRITE,
    LASTING_ERRORS,
    Connection,
    SqliteConnections,
    error_code,
    primary,
)
from .writer_lock import WriterLock

T = TypeVar("T")

OLDEST_SQLITE = (3, 35)  # it has ALTER TABLE … DROP COLUMN, which migrations use
PROOF_SECONDS = 0.1  # for which a commit proves that the next write can be stored
FULL_SECONDS = 0.5  # for which a write that found no room proves that there is none


@cache
def _has_full_text() -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        options = {option for (option,) in connection.execute("PRAGMA compile_options")}
    return "ENABLE_FTS5" in options


class OpenGroup(Protocol):
    """A transaction that is open for the writes of one thread (`group_commit.Group`)."""

    def write(self, verb: Callable[[], T]) -> T: ...
    def write_one(self, statement: Callable[[], T]) -> T: ...


class SqliteStore(SqliteConnections):
    """A SQLite file. Its connections are those of `SqliteConnections`."""

    engine = "sqlite"
    field_types = {**SqliteDatabase.field_types, "TSVECTOR": "TEXT"}
    PRAGMAS: dict[str, Any] = {
        "busy_timeout": 10_000,  # milliseconds
        "journal_mode": "wal",
        # An acknowledged write survives a power cut. A commit takes 108 µs, and 13 with NORMAL.
        "synchronous": "full",
        "foreign_keys": 1,
        # What is deleted is overwritten with zeros. Debian's SQLite does so by default.
        "secure_delete": 1,
        # Pages: 16 MB. A page that many appends changed is copied into the file once. So an append
        # writes 18 KB to file and log, on eight connections. SQLite's default is 1,000; with it, an
        # append writes a third more.
        "wal_autocheckpoint": 4_000,
        "cache_size": -16_000,  # KiB
        "temp_store": "memory",
    }
    CHOICES = {
        "journal_mode": {"wal", "delete", "truncate", "persist"},
        "synchronous": {"full", "extra", "normal", "off"},
    }

    def __init__(self, path: str, **pragmas: str) -> None:
        """Raises SettingsError if the SQLite library is too old, or made without FTS5."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise SettingsError(
                f"SQLite {sqlite3.sqlite_version} is too old: at least 3.35 is needed, which is in "
                "Lambda's runtimes from python3.12 on, and in the zip of STAGE=efs."
            )
        if not _has_full_text():
            raise SettingsError(
                f"SQLite {sqlite3.sqlite_version} was built without FTS5, which search needs: "
                "install pysqlite3-binary, which brings another SQLite."
            )
        # EFS has no WAL and one process, so it needs no lock between processes.
        is_shared = pragmas.get("journal_mode", self.PRAGMAS["journal_mode"]) == "wal"
        chosen = {**self.PRAGMAS, **pragmas}
        busy_timeout = int(chosen.pop("busy_timeout"))  # it differs between threads
        writer = WriterLock(f"{path}-lock" if is_shared else None, busy_timeout / 1000)
        # The open group of writes, and the thread whose requests are in it.
        self.group: OpenGroup | None = None
        self.group_thread: int | None = None
        # How the last write of this process ended: when it was stored, or why it was not.
        self._stored_at = 0.0
        self._failure: str | None = None
        self._full_until = 0.0  # it found no room, so a proof that needs less proves nothing
        super().__init__(path, is_shared, writer, busy_timeout, pragmas=chosen)

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

    def close(self) -> bool:
        if self.group_thread == threading.get_ident():
            return False  # the next request of the group needs the connection
        return super().close()

    def _renewed_connection(self) -> Connection:
        if self.group_thread == threading.get_ident():  # SQLite has taken the group back
            return self._state.conn  # type: ignore[attr-defined]
        return super()._renewed_connection()

    def write(self, verb: Callable[[], T]) -> T:
        """Run `verb` in a transaction, or in a savepoint of this thread's group."""
        if self.group_thread == threading.get_ident():
            return self.group.write(verb)  # type: ignore[union-attr]

        def transaction() -> T:
            with self.atomic("IMMEDIATE"):
                return verb()

        return self._in_turn(transaction)

    def write_one(self, statement: Callable[[], T]) -> T:
        """The same for a single statement, which is a transaction by itself."""
        if self.group_thread == threading.get_ident():
            return self.group.write_one(statement)  # type: ignore[union-attr]
        return self._in_turn(statement)

    def _in_turn(self, transaction: Callable[[], T]) -> T:
        """Run `transaction` in the turn to write.

        All waits together take as long as this thread may wait: first for our own writers, then for
        SQLite's lock. Raises OperationalError.
        """
        connection = self.connection()
        deadline = None if may_wait.get() else 0.0
        try:
            if not self.writer.acquire():
                deadline = self.writer.deadline() if deadline is None else deadline
                self.writer.wait(deadline)
            try:
                if deadline is not None:
                    connection.wait_until(deadline)
                self.refuse_lost_log(connection)
                result = transaction()
                self.refuse_lost_commit(connection)
            finally:
                try:
                    connection.wait_for(self.lock_timeout)
                finally:
                    self.writer.release()
        except (PeeweeException, sqlite3.Error, Unavailable) as error:
            self.note_failure(error)
            raise
        self.note_stored()
        return result

    def let_commit_wait(self, connection: Connection) -> None:
        """Let a commit wait for readers, where it has to: with a rollback journal."""
        if not self._has_log:
            connection.wait_for(self.busy_timeout)

    def note_stored(self) -> None:
        """A write of this process was stored."""
        self._stored_at, self._failure = time.monotonic(), None

    def note_failure(self, error: BaseException) -> None:
        """A write of this process was not stored: see whether the next one would be."""
        if isinstance(error, Unavailable):
            error = error.__cause__ or error
        self.doubt(error)
        code = error_code(error)
        is_busy = self.is_busy(error)
        is_full = code in (FULL, IOERR_WRITE)
        if is_full or primary(code) in LASTING_ERRORS or (is_busy and may_wait.get()):
            self._stored_at, self._failure = 0, str(error)
            self._full_until = time.monotonic() + FULL_SECONDS if is_full else 0

    def check_writable(self) -> None:
        """Raises OperationalError if a write cannot be stored now.

        It is proved by a commit that changes nothing: it writes one page to the log and syncs it,
        0.2 ms. A commit of this process in the last 0.1 seconds is a proof, too. While others write
        there is no wait: then it counts how the last write of this process ended. So a database
        that others keep locked is in order until a write has waited for it in vain. It counts, too,
        for half a second after a write that found no room, since most take more than one page.
        """
        self._next_look = 0
        connection = self.connection()
        if time.monotonic() < self._stored_at + PROOF_SECONDS:
            return
        is_full = self._failure is not None and time.monotonic() < self._full_until
        if not is_full and self.writer.acquire():
            try:
                self.refuse_lost_log(connection)
                with as_peewee_errors:
                    if self._commit_nothing(connection):
                        self.refuse_lost_commit(connection)
                        self.note_stored()
                        return
            finally:
                self.writer.release()
        if self._failure is not None:
            raise OperationalError(self._failure)

    def _commit_nothing(self, connection: Connection) -> bool:
        """Whether it was stored. False if another program has SQLite's lock."""
        connection.wait_for(0)
        try:
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")  # writes the page, though equal
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if primary(error_code(error)) != BUSY:
                raise
            return False
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.wait_for(self.lock_timeout)
        return True

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: every query in it sees the same state.

        It is begun by plain SQL, since Peewee's bookkeeping for nested writes takes 7 µs of a
        read's 60.
        """
        if self.in_transaction() or self.group_thread == threading.get_ident():
            yield
            return
        connection = self.connection()
        connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:  # SQLite ends it itself after some errors
                connection.execute("COMMIT")

    def data_version(self) -> object:
        """See `database.data_version`. SQLite counts for each connection apart."""
        with as_peewee_errors:
            connection = self.connection()
            return connection, connection.execute("PRAGMA data_version").fetchone()

    def overwrite_deleted(self) -> str:
        """Let nothing of what was deleted be left in the file or its log. Return what may remain.

        The file is written anew: SQLite overwrites what it deletes, but a file may have been
        written by a library that did not. Raises OperationalError if others read or write for too
        long.
        """

        def rewrite() -> None:
            connection = self.connection()
            with as_peewee_errors:
                connection.execute("VACUUM")
                # It waits as long as a writer does for readers, who may look at the old pages.
                if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise sqlite3.OperationalError("others read for so long that the log stayed")

        self.write_one(rewrite)
        return (
            "Nothing is left in the database file and its log. Replicas and backups hold it until "
            "they expire."
        )

    def stream(self, query: Query) -> Iterator[tuple[Any, ...]]:
        """The rows of `query`, read one by one. To be called in a snapshot."""
        return iter(self.execute(query))  # type: ignore[no-untyped-call]

    def load(self, model: type[Model], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows, whose values are in the order of the model's fields."""
        columns = ", ".join(f'"{column}"' for column in model._meta.sorted_field_names)
        values = ", ".join("?" for _ in model._meta.sorted_fields)
        into = f'INSERT INTO "{model._meta.table_name}" ({columns}) VALUES ({values})'  # noqa: S608
        with as_peewee_errors:
            self.connection().executemany(into, rows)

    def alone(self, change: Callable[[], T]) -> T:
        """Run a change of the schema while nobody writes.

        Foreign keys are not enforced until its end, since SQLite alters a table by dropping its old
        form. They are checked then. The pragma works outside of transactions only.
        """

        def checked() -> T:
            result = change()
            orphan = self.connection().execute("PRAGMA foreign_key_check").fetchone()
            if orphan:
                raise IntegrityError(f"rows of {orphan[0]} would be left without their {orphan[2]}")
            return result

        self.pragma("foreign_keys", 0)
        try:
            return self.write(checked)
        finally:
            self.pragma("foreign_keys", 1)
