"""The turn to write to a SQLite file."""

import os
import threading
import time

from peewee import OperationalError

try:
    import fcntl
except ImportError:  # Windows has none: there, SQLite's own lock is the only one between processes
    fcntl = None  # type: ignore[assignment]

RETRY_SECONDS = 0.0005  # a group of another process takes about as long


class Taken(OperationalError):
    """The turn to write was not to be had in time."""


class WriterLock:
    """The turn to write: one thread of one process has it.

    SQLite's own lock decides who writes. But whoever finds it taken sleeps for up to 100 ms before
    it tries again: two busy processes had a p99 of 133 to 878 ms. A lock of Python's between
    threads wakes the next one at once, and `flock` between processes is tried again at once.
    """

    def __init__(self, path: str | None, patience: float) -> None:
        """`path` is that of the file for flock. None: there are no other processes.

        `patience` is for how many seconds a write waits in all, if nobody says otherwise.
        """
        self._path = path
        self._patience = patience
        self._threads = threading.Lock()
        self._file: int | None = None

    def deadline(self, patience: float | None = None) -> float:
        """The moment of `time.monotonic` until which a write that asks now may wait."""
        return time.monotonic() + (self._patience if patience is None else patience)

    def wait(self, deadline: float) -> None:
        """Take the turn. Raises Taken if it is not to be had until the deadline."""
        if not self.acquire(deadline):
            raise Taken("database is locked: other writers were not done in time")

    def acquire(self, deadline: float | None = None) -> bool:
        """Take the turn. Returns False if it is taken: at once, or at the deadline."""
        if self._threads.acquire(blocking=False):
            if self._lock_file():
                return True
            self._threads.release()
        return deadline is not None and self._wait(deadline)

    def _wait(self, deadline: float) -> bool:
        if not self._threads.acquire(timeout=max(0, deadline - time.monotonic())):
            return False
        while not self._lock_file():
            if time.monotonic() >= deadline:
                self._threads.release()
                return False
            time.sleep(RETRY_SECONDS)
        return True

    def _lock_file(self) -> bool:
        if fcntl is None or self._path is None:
            return True
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a folder that cannot be written to: SQLite's lock decides alone
            pass
        return True

    def release(self, forget_file: bool = False) -> None:
        """Give the turn back. `forget_file` if the file may have been deleted or replaced."""
        try:
            if self._file is not None:
                if forget_file:
                    os.close(self._file)  # unlocks it
                    self._file = None
                else:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def __enter__(self) -> None:
        self.wait(self.deadline())

    def __exit__(self, *error: object) -> None:
        self.release()
