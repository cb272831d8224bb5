"""What `chalice local` needs to be a good development server.

On Lambda there is no `chalice.local`, and Chalice's command line, which sets the variable, does
not run.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from db.database import store_at
from db.settings import SettingsError, settings, stop


class Leader(threading.Thread):
    """The thread that takes the next request; see `handlers.http.server`."""

    def __init__(self, lead: Callable[[], None], make_way: Callable[[], None]) -> None:
        super().__init__(target=lead, name="leader", daemon=True)
        self.make_way = make_way
        self._clock: int | None = None

    def run(self) -> None:
        with suppress(AttributeError):  # not on macOS
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        super().run()

    def processor_time(self) -> float:
        """Seconds. Where the system does not tell, 0, as if it only ever waited."""
        try:
            return 0.0 if self._clock is None else time.clock_gettime(self._clock)
        except OSError:  # it has ended
            return 0.0


def make_way() -> None:
    """To be called before a request waits for something else than the database."""
    thread = threading.current_thread()
    if isinstance(thread, Leader):
        thread.make_way()


def tune() -> None:
    """Serve with our server, and say where the data is."""
    if not os.environ.get("AWS_CHALICE_CLI_MODE") or "local" not in sys.argv:
        return
    import chalice.local

    from .gateway import Gateway
    from .server import LocalServer

    # The reloader takes any new file for a change of the code: the bytecode, too, of a module that
    # is imported by the first request to need it.
    sys.dont_write_bytecode = True
    chalice.local.LocalDevServer = partial(
        chalice.local.LocalDevServer, handler_cls=Gateway, server_cls=LocalServer
    )
    announce()


def announce() -> None:
    """Say where the data is, or end the start with one sentence."""
    try:
        print(f"Conversations are kept in {store_at(settings().database_url).place}", flush=True)
    except SettingsError as error:
        stop(error)
