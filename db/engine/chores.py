"""Chores: work that is done along with writes, since there is no background job."""

import logging
import threading
import time
from collections.abc import Callable
from math import inf

from .database import WouldWait, cause_of

log = logging.getLogger("confab")


class Chore:
    """Some work that whoever writes does, a little of it, when it is due.

    `work` returns whether there is more to do; then it is due again with the next write. Else it is
    due after `seconds`, or after so many `writes` of this process. Its fault is no fault of the
    request that came along: it is logged in the words of `complaint`.
    """

    def __init__(
        self, work: Callable[[], bool], complaint: str, seconds: float = 1, writes: float = inf
    ) -> None:
        self._work = work
        self._complaint = complaint
        self._seconds = seconds
        self._writes = writes
        self.due_at = 0.0  # a moment of time.monotonic
        self._left: float = writes  # until then it is due after so many writes
        self._busy = threading.Lock()  # it writes, too, and other threads do meanwhile

    def __call__(self) -> None:
        self._left -= 1
        if self._left > 0 and time.monotonic() < self.due_at:
            return
        if not self._busy.acquire(blocking=False):
            return
        more = False
        try:
            more = self._work()
        except WouldWait:
            pass  # this thread must not wait for others, so a later write does it
        except Exception as error:
            log.warning("%s: %s", self._complaint, cause_of(error))
        finally:
            self._busy.release()
            self._left = self._writes
            self.due_at = 0 if more else time.monotonic() + self._seconds
