"""Work that goes on beside the request that began it, where a server outlives its requests.

There it has a thread of its own, and whoever reads what it writes can leave. On Lambda, which
freezes threads between requests, and in a test, it is done at once.
"""

import threading
from collections.abc import Callable

from db.engine.database import release

from ..tracing import switch
from .logs import log
from .waiting import parking

_working: set[threading.Thread] = set()


def aside(work: Callable[[], object]) -> None:
    """Do it, or let a thread do it. There, what goes wrong is in the log."""
    place = parking.get()
    if place is None or not place.is_flushed:
        work()
        return
    span = switch.current.get()

    def run() -> None:
        switch.current.set(span)
        try:
            work()
        except Exception:
            log.exception("Work beside a request failed")
        finally:
            release()
            _working.discard(threading.current_thread())

    # A daemon: the server waits for it when it ends in good order, and nobody does after Ctrl-C.
    thread = threading.Thread(target=run, daemon=True, name="aside")
    _working.add(thread)
    try:
        thread.start()
    except RuntimeError:  # there is no thread to be had
        _working.discard(thread)
        work()


def is_working() -> bool:
    """Whether there is work that the server has to wait for before it ends."""
    return bool(_working)
