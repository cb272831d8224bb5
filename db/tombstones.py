"""Tombstones: that a conversation was purged, for the readers of the feed who still have it."""

import time
from typing import Any

from peewee import SQL, Case, fn

from .change_numbers import next_number
from .engine.prepared import prepared
from .models import Conversation, ConversationRow, Tombstone

SWEEP_ROWS = 20


def raise_one(row: ConversationRow, deleted_at: str) -> None:
    """Note that the conversation is gone for ever."""
    _insert(row.id, row.project_id, row.user_id, deleted_at)


def sweep(deleted_before: str) -> None:
    """Take a few of the oldest away, but not the newest: numbers must go on from it."""
    _sweep(deleted_before)


def first_version(id: str) -> int:
    """The version with which a conversation of this id begins.

    One that was purged and is made again must not have a version that it had: they are its ETags,
    and the ids of its events. It has had less of them than there are milliseconds since 1970.
    """
    return time.time_ns() // 1_000_000 if _by_id(id).fetchone() else 0


def forget_user(id: str) -> None:
    """Leave no trace of whose conversation it was.

    The feed of its project tells of it anew, unless there is another one under this id.
    """
    _forget_user(id)


@prepared
def _insert(id: Any, project_id: Any, user_id: Any, deleted_at: Any) -> Any:
    """One tombstone."""
    values = {
        Tombstone.id: id,
        Tombstone.project_id: project_id,
        Tombstone.user_id: user_id,
        Tombstone.deleted_at: deleted_at,
        Tombstone.changed: next_number(),
    }
    # A client that chooses its ids may have made it, purged it, and made it again.
    others = [column for column in values if column is not Tombstone.id]
    return Tombstone.insert(values).on_conflict(conflict_target=[Tombstone.id], preserve=others)


@prepared
def _sweep(deleted_before: Any) -> Any:
    """A few of the oldest tombstones."""
    newest = Tombstone.alias()
    oldest = (
        Tombstone.select(Tombstone.id)
        .where(
            Tombstone.deleted_at < deleted_before,
            Tombstone.changed < newest.select(fn.MAX(newest.changed)),
        )
        .order_by(Tombstone.deleted_at)
        .limit(SWEEP_ROWS)
    )
    return Tombstone.delete().where(Tombstone.id.in_(oldest))


@prepared
def _forget_user(id: Any) -> Any:
    """A tombstone of nobody."""
    lives = fn.EXISTS(Conversation.select(SQL("1")).where(Conversation.id == id))
    changed = Case(None, [(lives, Tombstone.changed)], next_number())
    return Tombstone.update({Tombstone.user_id: None, Tombstone.changed: changed}).where(
        Tombstone.id == id
    )


@prepared
def _by_id(id: Any) -> Any:
    """Whether there is one."""
    return Tombstone.select(SQL("1")).where(Tombstone.id == id)
