"""The database handle, and the decorators that give a verb its transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from peewee import (  # type: ignore[attr-defined]
    DatabaseError,
    DatabaseProxy,
    DataError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
    sqlite3,
)

from ..clock import now
from ..errors import Invalid, Unavailable
from .notices import Topic, pending, tell

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

# False on a thread that must not wait for a lock. There, WouldWait is raised instead.
may_wait: ContextVar[bool] = ContextVar("may_wait", default=True)

# What a driver raises, by Peewee's names and by sqlite3's own: Peewee does not see what is raised
# while rows are fetched. A damaged file is the base class.
DRIVER_ERRORS = (DatabaseError, InterfaceError, sqlite3.Error)
# A mistake of ours, such as a constraint that was violated. Such a text may hold stored values.
MISTAKES = (
    *(IntegrityError, DataError, ProgrammingError, NotSupportedError),
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError),
)
# PostgreSQL's classes of errors whose text quotes a value or a row: data, and constraints.
QUOTING_STATES = ("22", "23")
LIMIT_STATE = "54"
TOO_LONG = (
    "project_id, user and key are too long together: PostgreSQL takes 2,704 bytes of them in an "
    "index, once compressed."
)


# False where much is written at once, such as an import: others do the chores then.
does_chores: ContextVar[bool] = ContextVar("does_chores", default=True)


class WouldWait(BaseException):
    """The request has to wait for a lock, on a thread that must not. It has done nothing.

    (As BlockingIOError says of a socket. It is no Exception, since it is no failure of the request:
    whoever runs the thread runs the request again on another one.)
    """


# Called after each write that succeeded, outside of its transaction. It must be quick and raise
# nothing, and it may write.
after_write: list[Callable[[], object]] = []


def transaction(verb: Callable[P, T]) -> Callable[P, T]:
    """Run `verb` as one write transaction, or as a part of the caller's if there is one.

    Raises Unavailable if the database stays busy or goes away, and Invalid if names are too long
    for an index of PostgreSQL. Then nothing was written.
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

        changed: set[Topic] = set()

        def timed() -> T:
            changed.clear()  # of an attempt that was taken back
            time, notices = transaction_time.set(now()), pending.set(changed)
            try:
                return verb(*args, **kwargs)
            finally:
                pending.reset(notices)
                transaction_time.reset(time)

        try:
            result = getattr(database.obj, method)(timed)
        except DRIVER_ERRORS as error:
            raise unavailable(error) from error
        if changed:
            tell(changed)
        if does_chores.get():
            for chore in after_write:
                chore()
        return result

    return run


def query(verb: Callable[P, T]) -> Callable[P, T]:
    """Run `verb`, which reads by a single query: it needs no snapshot. Raises Unavailable."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            database.obj.refresh()
            return verb(*args, **kwargs)
        except DRIVER_ERRORS as error:
            raise unavailable(error) from error

    return run


def snapshot(verb: Callable[P, T]) -> Callable[P, T]:
    """Let all queries of `verb` read one state of the database. Raises Unavailable."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with database.obj.snapshot():
                return verb(*args, **kwargs)
        except DRIVER_ERRORS as error:
            raise unavailable(error) from error

    return run


def data_version() -> object:
    """Something that differs from what it was if another connection committed since.

    It may also differ without. Raises Unavailable.
    """
    with driver_errors():
        return database.obj.data_version()


@contextmanager
def driver_errors() -> Iterator[None]:
    """A driver's error in this context becomes Unavailable, with the driver's as its cause."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise unavailable(error) from error


def is_away(error: BaseException) -> bool:
    """Whether it is a driver's error, and the database is busy, away or broken."""
    return isinstance(error, DRIVER_ERRORS) and not isinstance(error, MISTAKES)


def unavailable(error: Exception) -> Unavailable:
    """What a driver's error becomes. Raises the error itself if it is a mistake of ours.

    Raises WouldWait if the database is busy, on a thread that must not wait, and Invalid if
    PostgreSQL cannot index a row: then it would not help to repeat the request.
    """
    if not is_away(error):
        raise error
    if sqlstate_of(error)[:2] == LIMIT_STATE:
        raise Invalid(TOO_LONG, "project_id") from error
    if database.obj is not None:
        if not may_wait.get() and database.obj.is_busy(error):
            raise WouldWait from error
        database.obj.doubt(error)
    return Unavailable(driver_words(error))


def sqlstate_of(error: BaseException) -> str:
    """PostgreSQL's code of a driver's error, or of Peewee's. Empty if it has none."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def cause_of(error: BaseException) -> str:
    """What went wrong, for the log: `SQLITE_FULL: database or disk is full`. No stored value."""
    name = sqlstate_of(error) or getattr(getattr(error, "orig", error), "sqlite_errorname", None)
    words = driver_words(error)
    return f"{name}: {words}" if name and name != words else words


def driver_words(error: BaseException) -> str:
    """The driver's text in one line, or PostgreSQL's code if the text may quote a stored value.

    It is without the text of a column, which SQLite appends to some.
    """
    state = sqlstate_of(error)
    if state[:2] in QUOTING_STATES:
        return state
    return " ".join(str(error).partition(" with text ")[0].split())


def release() -> None:
    """Give this thread's connection back, if it has one. A thread that waits holds none."""
    if database.obj is not None and not database.is_closed():
        database.close()
