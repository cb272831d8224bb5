"""Storing beside reading: one process reads conversations, and another one stores them.

To read 10,000 conversations takes four seconds, and to store them as much. In one process an import
takes both, in two the longer one. Threads would not do: after each statement a thread would wait
for the other one to let it go on, in a transaction for which everybody waits.

There is one batch on its way, so that both stay small. Batches are stored in the order in which
they were read: the outcome is the same as in one process.
"""

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

from ..engine.database import does_chores
from ..errors import Unavailable
from .arrivals import Arrival, Options
from .storing import Outcome, store_each

GARBAGE_OBJECTS = 100_000


@contextmanager
def much_at_once() -> Iterator[None]:
    """Leave the chores to others: the search index would take twice as long as the import.

    A conversation is a thousand objects and no circle. If Python looked for circles as often as
    ever, it would take a fifteenth of the time.
    """
    chores, thresholds = does_chores.set(False), gc.get_threshold()
    gc.set_threshold(GARBAGE_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        does_chores.reset(chores)


class Storer:
    """Another process that stores. It ends with this one, and finishes its batch before.

    It is started when there is something to store. `open` opens the store there: a function of a
    module. To be used as a context.
    """

    def __init__(self, options: Options, open: Callable[[], None]) -> None:
        self._options = options
        self._open = open
        self._connection: Connection | None = None
        self._is_busy = False

    def __enter__(self) -> "Storer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._process.join()

    def _start(self) -> Connection:
        # One that is forked would have this one's connections to the database.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._options, self._open)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that each of both hears when the other one ends
        return ours

    def store(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Hand them over, and return what became of those before. Raises Unavailable."""
        outcomes = self.finish()
        if self._connection is None:
            self._connection = self._start()
        try:
            self._connection.send(arrivals)
        except OSError as error:
            raise _ended() from error
        self._is_busy = True
        return outcomes

    def finish(self) -> list[Outcome]:
        """Wait, and return what became of the last ones. Raises Unavailable, as storing does."""
        if self._connection is None or not self._is_busy:
            return []
        self._is_busy = False
        try:
            reply = self._connection.recv()
        except (EOFError, OSError) as error:
            raise _ended() from error
        if isinstance(reply, Exception):
            raise reply
        return list(reply)


def _ended() -> Unavailable:
    return Unavailable("the process that stores was ended")


def _serve(connection: Connection, options: Options, open: Callable[[], None]) -> None:
    """Store what comes, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the other one, and that this one
    with much_at_once():
        while True:
            try:
                arrivals = connection.recv()
            except (EOFError, OSError):
                return
            reply: list[Outcome] | Exception
            try:
                open()
                reply = store_each(arrivals, options)
            except Exception as error:  # it is raised at the other end
                reply = error
            try:
                connection.send(reply)
            except OSError:
                return
