"""The schema's versions: numbered files in `migrations/`, applied in order and recorded.

Some of Peewee's helpers write a table anew where SQLite has no ALTER for the change:
`add_not_null`, `drop_not_null`, `alter_column_type`. They lose its WITHOUT ROWID, so a migration
writes such a table anew by hand.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from peewee import Database, Table

from ..engine.connect import Store

if TYPE_CHECKING:
    from playhouse.migrations import Runner

DIRECTORY = Path(__file__).parents[1] / "migrations"
HISTORY = "schema_migration"  # the table that Peewee's runner keeps

log = logging.getLogger("confab")
# Peewee's own line, "up: 0001_initial", would go past the server's log, and mean nothing there.
logging.getLogger("peewee.migrations").setLevel(logging.WARNING)


def runner(store: Database, directory: Path = DIRECTORY) -> "Runner":
    # Cold start: 13 ms, and hardly a start has something to apply.
    from playhouse.migrations import Runner

    return Runner(store, str(directory))


def migrate(store: Store, directory: Path = DIRECTORY) -> list[str]:
    """Apply what is pending, all or nothing, and return its names.

    It is safe when several processes start together: the first one takes the write lock, and the
    others find nothing left to do.
    """
    with store.connection_context():
        if not pending(store, directory):
            return []
        names = store.alone(lambda: runner(store, directory).up())
    for name in names:
        log.info("Applied migration %s", name)
    return names


def pending(store: Database, directory: Path = DIRECTORY) -> list[str]:
    """The names of the migrations that are not applied, in order."""
    done = applied(store)
    names = sorted(path.stem for path in directory.glob("[0-9]*.py"))
    return [name for name in names if name not in done]


def applied(store: Database) -> list[str]:
    """The names of the migrations that are applied, in order."""
    if not store.table_exists(HISTORY):
        return []
    history = Table(HISTORY)
    return sorted(name for (name,) in history.select(history.c.name).tuples().execute(store))


def version(store: Database) -> str | None:
    """The newest applied migration's name. None for an empty database."""
    return max(applied(store), default=None)
