"""How the store is opened: the models are bound to the database, with its schema up to date."""

import logging
import threading
from typing import NamedTuple

from .engine.connect import Store, store_at
from .engine.database import database, driver_errors, write_patience
from .engine.sqlite import SqliteStore
from .errors import Unavailable
from .settings import Settings, settings
from .upkeep import schema

log = logging.getLogger("confab")
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
    with driver_errors():
        if isinstance(store, SqliteStore):
            schema.migrate(store)
        else:
            with store.connection_context():
                missing = schema.pending(store)
            if missing:
                store.close_all()
                raise Unavailable(
                    f"The schema of {store.place} lacks {', '.join(missing)}: "
                    "run python -m db migrate."
                )
    database.initialize(store)
    return store


def open_once() -> None:
    """Open the store if this is the process's first request.

    Not at import, since packaging imports the app, too. Raises Unavailable as `open_store` does.
    """
    if database.obj is None:
        with _opening:
            if database.obj is None:
                # Another process may be making the tables. Nobody is answered before that is done.
                hurry = write_patience.set(None)
                try:
                    log.info("The database is %s", open_store(settings()).place)
                finally:
                    write_patience.reset(hurry)


def health() -> Health:
    """Raises Unavailable if the database does not answer."""
    with driver_errors():
        return Health(engine=database.obj.engine, schema=schema.version(database.obj))
