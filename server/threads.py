"""Threads for requests that may wait. They are used again, and they do not hold up the end."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

IDLE_SECONDS = 1.0  # until a thread ends that has nothing to do

Work = Callable[[], None]


class Threads:
    """Runs each piece of work at once: in a thread that is idle, or in a new one.

    Python's own pool waits at the end of the process for all that its threads do.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Work] = SimpleQueue()
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
            try:
                work = self._work.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._idle.acquire(blocking=False):
                    return
                work = self._work.get()  # somebody has counted on this thread
