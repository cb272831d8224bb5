"""How the store is opened: the models are bound to the database, with its schema up to date."""

import logging
import threading
from typing import NamedTuple

from . import change_numbers, search_index, trash
from .clock import advance_ids
from .engine.connect import Store, store_at
from .engine.database import after_write, database, driver_errors
from .engine.sqlite import SqliteStore
from .errors import Unavailable
from .settings import Settings, settings
from .upkeep import schema

log = logging.getLogger("confab")
after_write += [trash.sweep_if_due, search_index.follow_if_due]
_opening = threading.Lock()


class Health(NamedTuple):
    """Which engine answers, and its newest migration."""

    engine: str
    schema: str | None


def open_store(chosen: Settings) -> Store:
    """Bind the models to the database that the settings name.

    A SQLite file is brought up to date first. A PostgreSQL server may have processes of several
    versions, so its schema changes only when somebody runs `python -m db migrate`.
    Raises SettingsError if DATABASE_URL cannot be used, and Unavailable if the database cannot be
    reached or its schema is too old.
    """
    store = store_at(chosen.database_url)
    try:
        _prepare(store)
    except BaseException:
        store.close_all()
        raise
    if isinstance(store, SqliteStore):
        store.on_replaced = lambda: _prepare(store)
    database.initialize(store)
    return store


def _prepare(store: Store) -> None:
    """Bring the schema up to date, and the process's ids. Raises Unavailable."""
    with driver_errors():
        if isinstance(store, SqliteStore):
            schema.migrate(store)
        with store.connection_context():
            if missing := schema.pending(store):
                raise Unavailable(
                    f"The schema of {store.place} lacks {', '.join(missing)}: "
                    "run python -m db migrate."
                )
            if not isinstance(store, SqliteStore):
                change_numbers.raise_base(store)
            # What is new sorts behind what is there, also if the clock went back meanwhile. An id
            # of the year 6429 or later was not made by a clock, and would leave none after it.
            for table in ("conversation", "message"):
                newest = store.execute_sql(f"SELECT max(id) FROM {table} WHERE id < '8'")  # noqa: S608
                advance_ids(newest.fetchone()[0])


def open_once() -> None:
    """Open the store if this is the process's first request.

    Not at import, since packaging imports the app, too. Raises Unavailable as `open_store` does.
    """
    if database.obj is None:
        with _opening:
            if database.obj is None:
                log.info("The database is %s", open_store(settings()).place)


def health() -> Health:
    """Raises Unavailable if the database does not answer, or would not store a write."""
    with driver_errors():
        database.obj.check_writable()
        return Health(engine=database.obj.engine, schema=schema.version(database.obj))
