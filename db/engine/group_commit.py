"""Group commit: one transaction, and so one sync of the disk, for the writes of several requests.

A server that answers many requests on one thread opens a group, runs requests, and commits. Each
write of a request runs in a savepoint, so one that fails undoes itself alone. No answer may leave
before `commit` has returned. If the commit fails, nothing of the group is stored.
(Redis does so with `appendfsync always`.)
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from peewee import sqlite3  # type: ignore[attr-defined]

from ..errors import Unavailable
from .database import DRIVER_ERRORS, driver_errors, unavailable
from .notices import Topic, pending, tell
from .sqlite import SqliteStore
from .sqlite_connections import BUSY, error_code, primary

T = TypeVar("T")


class Group:
    """A transaction for the writes of several requests, all on one thread."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        with driver_errors():
            self._connection = store.connection()
        self._wrote = False
        self._broken_by: BaseException | None = None  # why SQLite took the transaction back

    def begin(self, deadline: float | None = None) -> bool:
        """Take the turn to write. If it is taken, wait for it until `deadline`, if there is one.

        `deadline` is a moment of `time.monotonic`. Return False if the turn is taken and there is
        none. Raises Unavailable if the turn is not to be had in time, or if the files of the
        database are gone.
        """
        writer = self._store.writer
        try:
            if not writer.acquire():
                if deadline is None:
                    return False
                writer.wait(deadline)
            try:
                self._store.refuse_lost_log(self._connection)
                if not self._begin(deadline):
                    writer.release()
                    return False
            except BaseException:
                writer.release()
                raise
        except DRIVER_ERRORS as error:
            self._store.note_failure(error)
            raise unavailable(error) from error
        self._store.group = self
        self._store.group_thread = threading.get_ident()
        self._changed: set[Topic] = set()
        self._notices = pending.set(self._changed)
        return True

    def _begin(self, deadline: float | None) -> bool:
        """Whether SQLite's lock was to be had."""
        if deadline is None:
            self._connection.wait_for(0)
        else:
            self._connection.wait_until(deadline)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if deadline is not None or primary(error_code(error)) != BUSY:
                raise
            return False
        finally:
            self._connection.wait_for(self._store.lock_timeout)
        return True

    def run(self, request: Callable[[], T]) -> tuple[T, bool]:
        """What `request` returns, and whether it depends on the commit."""
        self._wrote = False
        return request(), self._wrote

    @property
    def is_intact(self) -> bool:
        """False if SQLite took the whole transaction back, as it does when the disk is full."""
        return self._connection.in_transaction

    def write(self, verb: Callable[[], T]) -> T:
        """Run one write of a request in a savepoint."""
        self._wrote = True
        self.write_one(lambda: self._connection.execute("SAVEPOINT one"))
        try:
            result = verb()
        except BaseException as error:
            self._look_after(error)
            with suppress(sqlite3.OperationalError):  # the whole transaction is gone
                self._connection.execute("ROLLBACK TO one")
                self._connection.execute("RELEASE one")
            raise
        self._connection.execute("RELEASE one")
        return result

    def write_one(self, statement: Callable[[], T]) -> T:
        """Run a single statement. If it fails, SQLite undoes it alone."""
        self._wrote = True
        self._refuse_broken()
        try:
            return statement()
        except BaseException as error:
            self._look_after(error)
            raise

    def _look_after(self, error: BaseException) -> None:
        """Keep the first error after which SQLite had taken the whole transaction back."""
        if self._broken_by is None and not self.is_intact:
            self._broken_by = error
            self._store.note_failure(error)

    def _refuse_broken(self) -> None:
        if not self.is_intact:
            cause = self._broken_by
            if isinstance(cause, Unavailable):
                cause = cause.__cause__ or cause
            raise Unavailable("another write of the same commit failed") from cause

    def commit(self) -> None:
        """Store the group durably and end it. Raises Unavailable: then nothing of it is stored."""
        try:
            self._refuse_broken()
            self._store.let_commit_wait(self._connection)
            self._connection.execute("COMMIT")
            self._store.refuse_lost_commit(self._connection)
            self._store.note_stored()
        except DRIVER_ERRORS as error:
            self._store.note_failure(error)
            raise unavailable(error) from error
        finally:
            self.end()
        if self._changed:
            tell(self._changed)

    def end(self) -> None:
        """Take back what was not committed, and let the next one write. Twice is fine."""
        if self._store.group is not self:
            return
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.wait_for(self._store.lock_timeout)
        pending.reset(self._notices)
        self._store.group = None
        self._store.group_thread = None
        self._store.writer.release()
