"""Threads for requests that may wait. They are used again, and they do not hold up the end."""

import threading
from collections.abc import Callable
from queue import Empty, Queue

IDLE_SECONDS = 1.0  # until a thread ends that has nothing to do

Work = Callable[[], None]


class Threads:
    """Runs each piece of work at once: in a thread that is idle, or in a new one.

    Python's own pool waits at the end of the process for all that its threads do.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # Not a SimpleQueue: its `get` (Python 3.11) may wait without end, if another thread takes
        # the work just when the time is over.
        self._work: Queue[Work] = Queue()
        self._idle = threading.Semaphore(0)

    def run(self, work: Work) -> None:
        """Raises RuntimeError if the system has no thread left."""
        if self._idle.acquire(blocking=False):
            self._work.put(work)
        else:
            threading.Thread(target=self._serve, args=(work,), daemon=True, name=self._name).start()

    def _serve(self, work: Work) -> None:
        while True:
            work()
            self._idle.release()
            while (next_work := self._next()) is None:
                # Nobody has counted on this thread, or on another one that is idle.
                if self._idle.acquire(blocking=False):
                    return
            work = next_work

    def _next(self) -> Work | None:
        try:
            return self._work.get(timeout=IDLE_SECONDS)
        except Empty:
            return None
