"""The database handle: how it is opened, how a verb gets its transaction, how SQL is kept ready."""

import inspect
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, unquote

from peewee import SQL, Database, DatabaseProxy, Model, OperationalError, Query, Value

from .settings import ON_LAMBDA, Settings, SettingsError
from .sqlite import SqliteStore

if TYPE_CHECKING:
    from .postgres import PostgresStore

P = ParamSpec("P")
T = TypeVar("T")

database = DatabaseProxy()

# What belongs to a conversation goes with it. Spelled out, since the key of `conversation` has two
# columns and Peewee's foreign keys have one.
IN_CONVERSATION = SQL(
    "FOREIGN KEY (conversation_id) REFERENCES conversation (id) ON DELETE CASCADE"
)

Store: TypeAlias = "SqliteStore | PostgresStore"


def default_path() -> Path:
    """The file used without DATABASE_URL. Outside the checkout, where `chalice local`'s reloader
    would take each write for a change of the code and restart the server."""
    from platformdirs import user_data_path

    return user_data_path("confab", appauthor=False) / "confab.db"


def open_store(settings: Settings) -> Store:
    """Bind the models to the database the settings name, bringing a SQLite file up to date.

    A server is for many processes of perhaps several versions, so its schema changes when
    somebody says so: until then OperationalError is raised. Raises SettingsError if DATABASE_URL
    cannot be used.
    """
    from .schema import migrate, pending

    store = store_at(settings.database_url)
    if isinstance(store, SqliteStore):
        migrate(store)
    else:
        with store.connection_context():
            missing = pending(store)
        if missing:
            store.close_all()
            raise OperationalError(
                f"The schema of {store.place} lacks {', '.join(missing)}: run python -m db migrate."
            )
    database.initialize(store)
    return store


def store_at(url: str | None) -> Store:
    """The database at `url`, not yet connected. Raises SettingsError."""
    if url is None:
        if os.environ.get(ON_LAMBDA):
            raise SettingsError(
                "DATABASE_URL must be set on Lambda, where no disk outlives an instance: set it "
                "in the stage's environment_variables in .chalice/config.json."
            )
        return _sqlite_by_default()
    if url.startswith("sqlite:///"):
        path, _, query = url.removeprefix("sqlite:///").partition("?")
        return _sqlite_at(Path(unquote(path)), dict(parse_qsl(query, keep_blank_values=True)))
    if url.startswith(("postgresql://", "postgres://")):
        return _postgres_at(url)
    raise SettingsError(
        "DATABASE_URL is not usable: it must begin with sqlite:/// or postgresql://."
    )


def _sqlite_by_default() -> SqliteStore:
    path = default_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"DATABASE_URL must be set: its default, {path}, has no folder, which could not be "
            f"made: {error.strerror}."
        ) from None
    return SqliteStore(str(path))


def _sqlite_at(path: Path, pragmas: dict[str, str]) -> SqliteStore:
    if not path.name or path.name == ":memory:" or "\0" in path.name or path.is_dir():
        raise SettingsError(
            "DATABASE_URL is not usable: it must name a file, e.g. sqlite:////var/lib/confab.db."
        )
    for name, value in pragmas.items():
        if value not in SqliteStore.CHOICES.get(name, ()):
            raise SettingsError(
                f"DATABASE_URL is not usable: {name}={value} is not one of "
                + "; ".join(f"{n}={'|'.join(sorted(v))}" for n, v in SqliteStore.CHOICES.items())
                + "."
            )
    if not path.parent.is_dir():
        raise SettingsError(f"DATABASE_URL is not usable: there is no folder {path.parent}.")
    return SqliteStore(str(path), **pragmas)


def _postgres_at(url: str) -> "PostgresStore":
    try:
        from .postgres import PostgresStore  # not every deployment carries the driver
    except ModuleNotFoundError:
        raise SettingsError(
            "DATABASE_URL is not usable: PostgreSQL needs psycopg, so install psycopg[binary]."
        ) from None
    return PostgresStore(url)


def transaction(verb: Callable[P, T]) -> Callable[P, T]:
    """Make `verb` one write transaction, or a part of the caller's, if there is one.

    Raises peewee.OperationalError if the database stays busy: then nothing was written.
    """

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if database.in_transaction():
            return verb(*args, **kwargs)
        return cast(T, database.write(lambda: verb(*args, **kwargs)))

    return run


def statement(verb: Callable[P, T]) -> Callable[P, T]:
    """Make `verb`, which writes by one statement, take its turn among the writers. The database
    makes a transaction of a single statement by itself, which saves BEGIN and COMMIT: 12 µs."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if database.in_transaction():
            return verb(*args, **kwargs)
        return cast(T, database.write_one(lambda: verb(*args, **kwargs)))

    return run


class prepared:  # noqa: N801 - a decorator
    """A Peewee query that is built once and run many times.

    Building a query takes Peewee 50 to 100 µs, several times what SQLite needs to run it. The
    decorated function builds it from placeholders; a call with values runs it and returns the
    driver's cursor:

        @prepared
        def by_id(id):
            return Conversation.select().where(Conversation.id == id)

        by_id("01a1fff2-…").fetchone()
    """

    def __init__(self, build: Callable[..., Query], arity: int | None = None) -> None:
        self._build = build
        self._arity = arity or len(inspect.signature(build).parameters)
        self._for: Database | None = None

    def _compile(self, store: Database) -> None:
        slots = [_Slot(index) for index in range(self._arity)]
        query = self._build(*(Value(slot, converter=False, unpack=False) for slot in slots))
        self._sql, params = query.sql()
        self._indexes = [p.index if isinstance(p, _Slot) else None for p in params]
        self._constants = params
        self._for = store

    def __call__(self, *values: object) -> Any:
        store = database.obj
        if self._for is not store:
            self._compile(store)
        params = [
            constant if index is None else values[index]
            for index, constant in zip(self._indexes, self._constants, strict=True)
        ]
        return store.execute_sql(self._sql, params)


class _Slot:
    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


def padded(ids: Sequence[str]) -> tuple[str, ...]:
    """`ids`, the last one repeated up to a power of two, for `IN (…)`: so that a handful of
    statements serves lists of every length."""
    size = 1 << max(0, len(ids) - 1).bit_length()
    return (*ids, *[ids[-1] for _ in range(size - len(ids))]) if ids else ()


def insertion(model: type[Model], fields: Sequence[str]) -> prepared:
    """The INSERT of one row, called with the values of `fields` in their order."""
    columns = [getattr(model, field) for field in fields]
    return prepared(
        lambda *values: model.insert(dict(zip(columns, values, strict=True))), len(fields)
    )
