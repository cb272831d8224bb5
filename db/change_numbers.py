"""The numbers by which the feed of changes goes: each is greater than all that a reader has seen.

On SQLite there is one writer at a time, so a number is one more than the greatest. On PostgreSQL,
transactions commit in another order than they begin. There the number is that of the transaction,
and a reader is told only of numbers below that of the oldest transaction which still runs. So one
that is held open holds up the feed, and nothing is missed. `change_base` is added to it: in a
database that came from elsewhere, numbers are as great as there.
"""

from typing import Any

from peewee import SQL

from .engine.connect import Store
from .engine.database import database

_OF_CONVERSATIONS, _OF_TOMBSTONES = (
    f"COALESCE((SELECT MAX(changed) FROM {table}), 0)"  # noqa: S608
    for table in ("conversation", "tombstone")
)
_BASE = "(SELECT last_value FROM change_base)"


def next_number() -> Any:
    """The number of a change, for the SQL of a query that is being built."""
    if database.engine == "sqlite":
        return SQL(f"(MAX({_OF_CONVERSATIONS}, {_OF_TOMBSTONES}) + 1)")
    return SQL(f"(pg_current_xact_id()::text::bigint + {_BASE})")


def is_settled(changed: Any) -> list[Any]:
    """The conditions under which nothing more can come with this number or a smaller one."""
    if database.engine == "sqlite":
        return []
    return [changed < SQL(f"(pg_snapshot_xmin(pg_current_snapshot())::text::bigint + {_BASE})")]


def raise_base(store: Store) -> None:
    """Let the numbers that come be greater than all that there are, on PostgreSQL."""
    greatest, next_one = store.execute_sql(
        f"SELECT GREATEST({_OF_CONVERSATIONS}, {_OF_TOMBSTONES}), "
        f"pg_snapshot_xmax(pg_current_snapshot())::text::bigint + {_BASE}"
    ).fetchone()
    if greatest >= next_one:
        step = greatest - next_one + 1
        store.execute_sql(f"SELECT setval('change_base', {_BASE} + %s)", [step])
