"""The database handle, and the decorators that give a verb its transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from peewee import DatabaseProxy, InterfaceError, OperationalError

from ..clock import now
from ..errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

# The models are bound to it at import. `db.startup` says later which database it stands for.
database = DatabaseProxy()

# The moment at which the running transaction got its lock, as RFC 3339 text. All that a transaction
# writes bears this time. Outside of a transaction there is none, and `get` raises LookupError.
transaction_time: ContextVar[str] = ContextVar("transaction_time")

# Set on a thread that answers one request after another: to open and close a connection for each of
# them takes 15 µs.
keeps_connection: ContextVar[bool] = ContextVar("keeps_connection", default=False)

# Seconds for which a write on this thread waits for others. None: as long as the store says.
write_patience: ContextVar[float | None] = ContextVar("write_patience", default=None)

# What a driver raises, by Peewee's names, when the database is busy, away or broken.
DRIVER_ERRORS = (OperationalError, InterfaceError)


def transaction(verb: Callable[P, T]) -> Callable[P, T]:
    """Run `verb` as one write transaction, or as a part of the caller's if there is one.

    Raises Unavailable if the database stays busy or goes away. Then nothing was written.
    """
    return _written_by("write", verb)


def statement(verb: Callable[P, T]) -> Callable[P, T]:
    """Run `verb`, which writes by a single statement, as one write transaction.

    The database makes a transaction of a single statement by itself. This saves BEGIN and COMMIT,
    12 µs. Raises Unavailable as `transaction` does.
    """
    return _written_by("write_one", verb)


def _written_by(method: str, verb: Callable[P, T]) -> Callable[P, T]:
    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if transaction_time.get(None) is not None:  # it is a part of the caller's
            return verb(*args, **kwargs)

        def timed() -> T:
            token = transaction_time.set(now())
            try:
                return verb(*args, **kwargs)
            finally:
                transaction_time.reset(token)

        try:
            return getattr(database.obj, method)(timed)
        except DRIVER_ERRORS as error:
            raise Unavailable(str(error)) from error

    return run


def snapshot(verb: Callable[P, T]) -> Callable[P, T]:
    """Let all queries of `verb` read one state of the database. Raises Unavailable."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with database.obj.snapshot():
                return verb(*args, **kwargs)
        except DRIVER_ERRORS as error:
            raise Unavailable(str(error)) from error

    return run


@contextmanager
def driver_errors() -> Iterator[None]:
    """A driver's error in this context becomes Unavailable, with the driver's as its cause."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise Unavailable(str(error)) from error


def release() -> None:
    """Give this thread's connection back, if it has one. A thread that waits holds none."""
    if database.obj is not None and not database.is_closed():
        database.close()
