"""The connections to a SQLite file: kept for the next request, and closed when they are no good.

Peewee has a connection for each thread, and a server's requests come on many. Opening one costs
more than most requests, so a connection that is closed is kept for the next thread. (Playhouse's
pool does so, too. Its bookkeeping for limits and lost connections costs 4 µs a request.)

All connections are closed after an error that may last, and when the files of the database are not
at their path any more. The next request opens what is there. Only the first one makes a new file:
one that is missing later was deleted, and a server must not go on with an empty database.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from peewee import (  # type: ignore[attr-defined]
    OperationalError,
    SqliteDatabase,
    sqlite3,  # or pysqlite3, if that is newer
)
from peewee import __exception_wrapper__ as as_peewee_errors  # type: ignore[attr-defined]

from .database import may_wait
from .open_files import OpenFiles, file_uri
from .writer_lock import Taken, WriterLock

IDLE_CONNECTIONS = 32  # kept at most; each has two open files
# Between two looks of reads at the files: 3 µs. A write looks before and after it.
LOOK_SECONDS = 0.1
LEAVE_SECONDS = 0.05  # for which a request waits for the turn to write, to let go of the files
# SQLite's result codes. (An older pysqlite3 does not name them.)
BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB = 5, 6, 8, 10, 11, 13, 14, 26
IOERR_WRITE = IOERR | 3 << 8
# After these a connection may be of no use for ever: SQLite opens a file that it may not write to
# for reading only, and keeps a damaged page.
LASTING_ERRORS = {READONLY, IOERR, CORRUPT, CANTOPEN, NOTADB}


class Connection(sqlite3.Connection):
    """A connection that knows the files that it was opened on."""

    files: OpenFiles | None = None
    _timeout: int | None = None

    def wait_for(self, milliseconds: int) -> None:
        """Let SQLite wait so long for its lock from now on."""
        if milliseconds != self._timeout:
            self.execute(f"PRAGMA busy_timeout = {milliseconds}")
            self._timeout = milliseconds

    def wait_until(self, deadline: float) -> None:
        """Let SQLite wait for its lock until then, a moment of `time.monotonic`."""
        self.wait_for(max(0, int((deadline - time.monotonic()) * 1000)))

    def __del__(self) -> None:
        # A thread that ends leaves its connection behind. Python 3.13 warns of one that is open.
        with suppress(sqlite3.Error):  # it could not be opened
            self.close()


class SqliteConnections(SqliteDatabase):
    def __init__(
        self, path: str, has_log: bool, writer: WriterLock, busy_timeout: int, **options: Any
    ) -> None:
        self.writer = writer
        self.busy_timeout = busy_timeout  # milliseconds
        # Called when the files were opened again: it may be another database, of another schema.
        self.on_replaced: Callable[[], object] = lambda: None
        self._has_log = has_log
        self._idle: deque[Connection] = deque()
        self._files: OpenFiles | None = None
        self._opening = threading.RLock()
        self._has_served = False
        self._is_preparing = False  # what was opened again
        self._next_look = 0.0  # a moment of time.monotonic
        self._is_doubtful = False  # an error occurred that may last
        super().__init__(path, check_same_thread=False, **options)

    @property
    def lock_timeout(self) -> int:
        """For how many milliseconds this thread lets SQLite wait for its lock."""
        return self.busy_timeout if may_wait.get() else 0

    def is_busy(self, error: BaseException) -> bool:
        """Whether it was only that others have a lock."""
        return isinstance(error, Taken) or primary(error_code(error)) in (BUSY, LOCKED)

    def refresh(self) -> None:
        """Let this thread go on with a connection that is good."""
        self.connection()

    def connection(self) -> Connection:
        """This thread's connection. It is opened anew if it is no good any more."""
        connection: Connection | None = self._state.conn  # type: ignore[attr-defined]
        if connection is not None and (
            connection.in_transaction
            or (
                connection.files is self._files
                and not self._is_doubtful
                and time.monotonic() < self._next_look
            )
        ):
            return connection
        return self._renewed_connection()

    def _renewed_connection(self) -> Connection:
        files = self._files
        if files is None or self._is_doubtful or not files.are_there():
            if not may_wait.get():
                raise Taken(f"{self.database} is to be opened")
            if files is not None:
                with as_peewee_errors:
                    self._leave()
        self._next_look = time.monotonic() + LOOK_SECONDS
        connection: Connection | None = self._state.conn  # type: ignore[attr-defined]
        if connection is not None and connection.files is not self._files:
            self.close()
        self.connect(reuse_if_open=True)
        renewed: Connection = self._state.conn  # type: ignore[attr-defined]
        return renewed

    def refuse_lost_log(self, connection: Connection) -> None:
        """Raises OperationalError if the log of this connection is gone.

        To be asked in the turn to write, before a transaction. Another process may have put a new
        log in the place, and whoever reads that would miss what the old one holds.
        """
        files = connection.files
        if files is None or files is not self._files or not files.has_log_in_place():
            self._refuse()

    def refuse_lost_commit(self, connection: Connection) -> None:
        """Raises OperationalError if what was committed on this connection is lost."""
        files = connection.files
        if files is None or files is not self._files or not files.are_there():
            self._refuse()

    def _refuse(self) -> NoReturn:
        self._next_look = 0
        raise OperationalError(f"{self.database} or its log was deleted or replaced")

    def doubt(self, error: BaseException) -> None:
        """Learn from a driver's error whether the connections are still good."""
        code = error_code(error)
        # A write that finds no room does not affect the connection. It still reads.
        if code != IOERR_WRITE and primary(code) in LASTING_ERRORS:
            self._is_doubtful = True

    def rollback(self) -> None:
        if self.connection().in_transaction:  # SQLite ends it itself if the disk is full
            super().rollback()

    # --- Opening

    def connect(self, reuse_if_open: bool = False) -> bool:
        if self._files is None or self._is_preparing:
            self._open_files()
        return super().connect(reuse_if_open)

    def _open_files(self) -> None:
        """Open them, or wait until another thread has, with the schema up to date."""
        seconds = self.lock_timeout / 1000
        if not self._opening.acquire(timeout=seconds):
            raise Taken(f"{self.database} is still being opened")
        try:
            if self._files is not None:
                return
            with as_peewee_errors:
                self._files = files = OpenFiles(self.database, self._has_log, self._open)
            self._is_doubtful = False
            if self._has_served:
                self._is_preparing = True
                try:
                    self.on_replaced()
                except BaseException:
                    self._files = None
                    files.close()
                    raise
                finally:
                    self._is_preparing = False
            self._has_served = True
        finally:
            self._opening.release()

    def _open(self) -> Connection:
        connection: Connection = sqlite3.connect(
            file_uri(self.database, create=not self._has_served),
            uri=True,
            isolation_level=None,
            factory=Connection,
            **self.connect_params,
        )
        try:
            self._add_conn_hooks(connection)  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_pragmas(self, conn: Connection) -> None:
        # Processes that start together on a new file change it to WAL at the same moment. SQLite
        # ignores its busy timeout where waiting could end in a deadlock, and fails. So wait here.
        deadline = self.writer.deadline() if may_wait.get() else 0
        conn.wait_for(self.lock_timeout)
        while True:
            try:
                return super()._set_pragmas(conn)  # type: ignore[misc]
            except sqlite3.OperationalError as error:
                if error_code(error) != BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _connect(self) -> Connection:
        files = self._files
        while self._idle:
            with suppress(IndexError):  # another thread took it
                connection = self._idle.pop()
                if connection.files is files:
                    connection.wait_for(self.lock_timeout)
                    return connection
                connection.close()
        connection = self._open()
        connection.files = files
        return connection

    # --- Closing

    def _close(self, conn: Connection) -> None:
        if len(self._idle) < IDLE_CONNECTIONS and conn.files is self._files:
            self._idle.append(conn)
        else:
            conn.close()

    def close_all(self) -> None:
        """Close this thread's connection and the idle ones. The last one closes the file."""
        self.close()
        self._close_idle()
        if self._files is not None:
            self._files.close()
            self._files = None

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _leave(self) -> None:
        """Let go of files that were deleted or replaced, or that failed."""
        if not self.writer.acquire(self.writer.deadline(LEAVE_SECONDS)):
            raise OperationalError(f"{self.database} failed or was replaced, and is being written")
        try:
            files = self._files
            if files is not None and (self._is_doubtful or not files.are_there()):
                files.leave()
                self._files = None
                self._close_idle()
        finally:
            self.writer.release(forget_file=True)


def error_code(error: BaseException) -> int:
    """SQLite's result code of a driver's error, or of Peewee's. 0 if it has none."""
    return getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)


def primary(code: int) -> int:
    """The code without what SQLite adds to it."""
    return code & 0xFF
