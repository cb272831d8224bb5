"""The schema's versions: numbered files in `migrations/`, applied in order and recorded.

Of Peewee's helpers in them, those that SQLite has no ALTER for (`add_not_null`, `drop_not_null`,
`alter_column_type`) write the table anew and lose its WITHOUT ROWID: write it anew by hand.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peewee import Database, Model, Table

from .api_key import ApiKey
from .conversation import Conversation
from .database import Store
from .event import Event
from .idempotency_key import IdempotencyKey
from .message import Message
from .stream import Stream

if TYPE_CHECKING:
    from playhouse.migrations import Runner

# In the order in which they refer to each other.
MODELS: Sequence[type[Model]] = (Conversation, Message, Event, Stream, ApiKey, IdempotencyKey)
DIRECTORY = Path(__file__).parent / "migrations"
HISTORY = "schema_migration"  # Peewee's runner keeps it

log = logging.getLogger("confab")
# Peewee's own line, "up: 0001_initial", would go past the server's log, and mean nothing there.
logging.getLogger("peewee.migrations").setLevel(logging.WARNING)


def runner(store: Database, directory: Path = DIRECTORY) -> "Runner":
    # Hardly a start has something to apply, and this is 8 of the import's 157 ms.
    from playhouse.migrations import Runner

    return Runner(store, str(directory))


def migrate(store: Store, directory: Path = DIRECTORY) -> list[str]:
    """Apply what is pending, all or nothing, and return its names.

    Safe when several processes start together: the first takes the write lock, and the others
    find nothing left to do.
    """
    with store.connection_context():
        if not pending(store, directory):
            return []
        names = store.alone(lambda: runner(store, directory).up())
    for name in names:
        log.info("Applied migration %s", name)
    return names


def pending(store: Database, directory: Path = DIRECTORY) -> list[str]:
    done = applied(store)
    names = sorted(path.stem for path in directory.glob("[0-9]*.py"))
    return [name for name in names if name not in done]


def applied(store: Database) -> list[str]:
    if not store.table_exists(HISTORY):
        return []
    history = Table(HISTORY)
    return sorted(name for (name,) in history.select(history.c.name).tuples().execute(store))


def version(store: Database) -> str | None:
    """The newest applied migration's name; None for an empty database."""
    return max(applied(store), default=None)
