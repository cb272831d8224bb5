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
from .database import driver_errors
from .sqlite import SqliteStore

T = TypeVar("T")


class Group:
    """A transaction for the writes of several requests, all on one thread."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        with driver_errors():
            self._connection: sqlite3.Connection = store.connection()  # type: ignore[no-untyped-call]
        self._wrote = False

    def begin(self, wait: bool) -> bool:
        """Take the turn to write. If it is taken, wait for it, or return False.

        Raises Unavailable if it is not to be had in time.
        """
        if not self._store.writer.acquire(wait):
            if wait:
                raise Unavailable("Other writers were not done in time.")
            return False
        try:
            self._begin(wait)
        except sqlite3.Error as error:
            self._store.writer.release()
            if not wait and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return False
            raise Unavailable(str(error)) from error
        self._store.group = self
        self._store.group_thread = threading.get_ident()
        return True

    def _begin(self, wait: bool) -> None:
        if wait:
            self._connection.execute("BEGIN IMMEDIATE")
            return
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {self._store.busy_timeout}")

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
        except BaseException:
            with suppress(sqlite3.OperationalError):  # the whole transaction is gone
                self._connection.execute("ROLLBACK TO one")
                self._connection.execute("RELEASE one")
            raise
        self._connection.execute("RELEASE one")
        return result

    def write_one(self, statement: Callable[[], T]) -> T:
        """Run a single statement. If it fails, SQLite undoes it alone."""
        self._wrote = True
        if not self.is_intact:
            raise Unavailable("The transaction of this group was taken back.")
        return statement()

    def commit(self) -> None:
        """Store the group durably and end it. Raises Unavailable: then nothing of it is stored."""
        try:
            if not self.is_intact:
                raise Unavailable("The transaction of this group was taken back.")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error
        finally:
            self.end()

    def end(self) -> None:
        """Take back what was not committed, and let the next one write. Twice is fine."""
        if self._store.group is not self:
            return
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._store.group = None
        self._store.group_thread = None
        self._store.writer.release()
