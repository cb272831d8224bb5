"""The files of an open SQLite database: are they still at its path, and how to let go of them.

A connection goes on in files that were deleted or replaced: what it commits is lost when it closes.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from peewee import OperationalError, sqlite3  # type: ignore[attr-defined]

CHECKPOINT_MILLISECONDS = 50  # for which the last checkpoint waits for readers

IOERR_SHORT_READ = 10 | 2 << 8  # SQLite's result code: a file is shorter than it should be

Identity = tuple[int, int] | None  # of a file: its device and its number there. None: it is missing


class OpenFiles:
    """The files that a database had when it was opened, held by a connection of their own.

    SQLite deletes the log (`-wal`) when the last connection closes. This one stays, so if the log
    is another one than it was, somebody else deleted it.
    """

    def __init__(self, path: str, has_log: bool, connect: Callable[[], sqlite3.Connection]) -> None:
        """`connect` opens a connection. Raises what it raises."""
        self._path = path
        self._log, self._index = f"{path}-wal", f"{path}-shm"
        self._has_log = has_log
        while True:
            before = _identity(path)
            self._connection = connect()
            try:  # a new database has its log from the first read on
                self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except BaseException:
                self._connection.close()
                raise
            self.database, self._opened_log = self._look()
            self._opened_index = _identity(self._index)
            if before in (None, self.database):  # it was not replaced meanwhile
                return
            self._connection.close()

    def are_there(self) -> bool:
        """Whether they are still at the path. It takes 3 µs."""
        return self.has_log_in_place() and _identity(self._path) == self.database

    def has_log_in_place(self) -> bool:
        """Whether the log, if there is one, is still at the path."""
        return not self._has_log or _identity(self._log) == self._opened_log

    def leave(self) -> None:
        """Close them, so that others can be opened. The caller has the turn to write.

        If only the log was deleted, what it holds is moved into the database, and nothing is lost.
        If the database was deleted or replaced, and its log was not, the log is removed: SQLite
        would apply it to the next database at this path, and destroy that. Raises OperationalError
        if somebody reads in the log that has to go. Then leave again.
        """
        database, log = self._look()
        if database == self.database:
            if log != self._opened_log:
                self._empty_log()
        elif log is not None and log == self._opened_log:
            with suppress(sqlite3.Error):  # the database is gone, and perhaps its disk
                self._empty_log()
            try:
                for path, opened in ((self._log, log), (self._index, self._opened_index)):
                    if opened is not None and _identity(path) == opened:
                        os.unlink(path)
            except OSError as error:
                raise OperationalError(f"{path} cannot be removed: {error.strerror}.") from error
        self.close()

    def close(self) -> None:
        self._connection.close()

    def _empty_log(self) -> None:
        """Move what the log holds into the database, so that no reader asks the log any more."""
        self._connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_MILLISECONDS}")
        try:
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != IOERR_SHORT_READ:
                raise
            return  # another process has emptied it before
        if busy:
            raise OperationalError(f"The log of {self._path} was deleted, and is still being read.")

    def _look(self) -> tuple[Identity, Identity]:
        return _identity(self._path), _identity(self._log) if self._has_log else None


def file_uri(path: str, create: bool) -> str:
    """The path for SQLite, which makes a missing file only if it is told to."""
    return f"{Path(path).absolute().as_uri()}?mode={'rwc' if create else 'rw'}"


def _identity(path: str) -> Identity:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OperationalError(f"{path} cannot be looked at: {error.strerror}.") from error
    return found.st_dev, found.st_ino
