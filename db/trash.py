"""The trash: what was deleted, until it is restored or purged, and what retention puts there.

There is no background job. Whoever writes sweeps, a few rows at a time: the conversations without
activity for RETENTION_DAYS go into the trash, and those that have been there for TRASH_DAYS are
purged. A large one is purged in pieces. From the first one on nobody can restore it, and its
activity is `BEING_PURGED`. With them go the answers that are kept for a day only.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from peewee import IntegrityError, Tuple, fn

from . import (
    conversations,
    idempotency_keys,
    kept_answers,
    projects,
    search_index,
    streams,
    tags,
    tombstones,
    transcripts,
)
from .clock import AFTER_ALL_TIMES, DAY_SECONDS, ago, first_id_at, plus, time_of
from .engine.chores import Chore
from .engine.database import database, query, transaction, transaction_time
from .engine.notices import notify
from .engine.prepared import prepared
from .errors import ConversationNotFound, KeyTaken, Unavailable
from .models import (
    CONVERSATION_COLUMNS,
    FLAG_PAIRS,
    FLAGS,
    IS_KEPT,
    Conversation,
    ConversationRow,
    Message,
)
from .scope import EVERYTHING, Scope
from .settings import settings
from .transcripts import Transcript

# A tombstone stays so long after the trash would have been emptied. A reader of the feed who was
# away for longer begins anew.
TOMBSTONE_DAYS = 30
SWEEP_SECONDS = 1  # between two sweeps of a process that found nothing more to do
SWEEP_MESSAGES = 50  # purged by one sweep
SWEEP_CONVERSATIONS = 5  # put into the trash by one sweep, or more if they are of several projects
SWEEP_PROJECTS = 20  # looked through by one sweep
BATCH_ROWS = 50  # looked at together
MAX_TURNS = 10  # of a restoring that loses its key to others
BEING_PURGED = ""  # the activity of a conversation that nobody can restore any more


class Discarded(NamedTuple):
    """A conversation in the trash. The times are RFC 3339 text."""

    conversation: ConversationRow
    deleted_at: str
    purge_at: str


class DiscardedSlice(NamedTuple):
    """Conversations in the trash, the latest deleted first, and whether there are more."""

    rows: list[Discarded]
    has_more: bool


class Receipt(NamedTuple):
    """What was purged."""

    id: str
    messages: int
    purged_at: str


def forgotten_before() -> str:
    """The time before which what was deleted may have no tombstone any more."""
    return ago((settings().trash_days + TOMBSTONE_DAYS) * DAY_SECONDS)


def _expired_before() -> str:
    """The time before which what was deleted is to be purged."""
    return ago(settings().trash_days * DAY_SECONDS)


def _retention_seconds() -> float:
    return (settings().retention_days or 0) * DAY_SECONDS


@query
def page_for(
    scope: Scope,
    project_id: str | None = None,
    limit: int = 20,
    after: tuple[str, str] | None = None,
) -> DiscardedSlice:
    """A page of the trash, behind a time of deletion and an id."""
    project_id = project_id or scope.project_id
    page = _page(project_id is not None, scope.user_id is not None)
    deleted_at, id = after or (AFTER_ALL_TIMES, "")
    found = page(project_id, scope.user_id, deleted_at, id, limit + 1).fetchall()
    return DiscardedSlice([_discarded(row) for row in found[:limit]], len(found) > limit)


def _discarded(row: tuple[Any, ...]) -> Discarded:
    *columns, deleted_at = row
    purge_at = plus(deleted_at, settings().trash_days * DAY_SECONDS)
    return Discarded(ConversationRow.decoded(columns), deleted_at, purge_at)


def restore(scope: Scope, conversation_id: str) -> Transcript:
    """Take a conversation out of the trash, as it was.

    Raises ConversationNotFound if it is not there, and KeyTaken if another one has its key now.
    """
    for _ in range(MAX_TURNS):
        try:
            _take_out(scope, conversation_id)
        except IntegrityError:
            continue  # somebody has just taken the key, as the next turn will find
        return transcripts.read(scope, conversation_id)
    raise Unavailable("its key was taken and given up again, each time")


@transaction
def _take_out(scope: Scope, conversation_id: str) -> None:
    row, _ = _lock(scope, conversation_id)
    if row.key is not None:
        holder = conversations.by_key(Scope(row.project_id, row.user_id), row.project_id, row.key)
        if holder is not None:
            raise KeyTaken(holder)
    # Retention would take back what it has put there, unless something was written to it.
    saved = settings().retention_days is not None and not _is_kept(row.activity, row.updated_at)
    updated_at = transaction_time.get() if saved else row.updated_at
    _restore(row.id, row.version + 1, updated_at)
    if row.tags:
        tags.store(row)
    notify(row.id)
    conversations.notify_feeds(row)


@transaction
def purge(scope: Scope, conversation_id: str) -> Receipt:
    """Delete a conversation in the trash for ever. Raises ConversationNotFound, Held."""
    row, deleted_at = _lock(scope, conversation_id)
    conversations.refuse_held(row)
    count = _count(row.id).fetchone()[0]
    conversations.purge(row, deleted_at)
    return Receipt(row.id, count, transaction_time.get())


def _lock(scope: Scope, conversation_id: str) -> tuple[ConversationRow, str]:
    found = _in_trash(conversation_id).fetchone()
    if found is None:
        raise ConversationNotFound(conversation_id)
    *columns, deleted_at = found
    row = ConversationRow.decoded(columns)
    if not scope.covers(row):
        raise ConversationNotFound(conversation_id)
    return row, deleted_at


# --- Sweeping

_lap_project = ""  # the project up to which retention has looked, in this lap


def sweep() -> bool:
    """Retain and purge a few rows, and finish a few streams. Return whether there is more to do."""
    streams.finish_some_silent(SWEEP_CONVERSATIONS)
    return _sweep()


@transaction
def _sweep() -> bool:
    more_to_retain = _retain()
    more_to_purge = _purge_some()
    tombstones.sweep(forgotten_before())
    more_answers = [idempotency_keys.sweep(), kept_answers.sweep()]
    return more_to_retain or more_to_purge or any(more_answers)


def _retain() -> bool:
    """Put a few into the trash that had no activity for too long, in the next projects of the lap.

    What is held stays, and what was written to since, as by a restoring.
    """
    global _lap_project
    if settings().retention_days is None:
        return False
    next_projects = projects.page_for(EVERYTHING, SWEEP_PROJECTS, _lap_project)
    for project, _ in next_projects.rows:
        found = [id for flags in FLAG_PAIRS for id in _inactive_in(project, *flags)]
        for id in found[:SWEEP_CONVERSATIONS]:
            with suppress(ConversationNotFound):  # on PostgreSQL, another process was quicker
                row = conversations.lock(EVERYTHING, id)
                if not row.is_held and not _is_kept(row.activity, row.updated_at):
                    conversations.discard(row)
        if len(found) > SWEEP_CONVERSATIONS:
            return True
        _lap_project = project
    if not next_projects.has_more:
        _lap_project = ""
    return False


def _is_kept(activity: str, updated_at: str) -> bool:
    """Whether there was activity of late, or a write since the activity was too long ago."""
    seconds = _retention_seconds()
    active_at = time_of(activity)
    expired_at, cutoff = plus(active_at, seconds), ago(seconds)
    return active_at >= cutoff or updated_at >= max(expired_at, cutoff)


def _inactive_in(project_id: str, is_archived: bool, is_pinned: bool) -> list[str]:
    """A few of a project, and one more if there is one, that retention does not keep."""
    bound = first_id_at(ago(_retention_seconds()))
    found: list[str] = []
    activity, is_full = "", True
    while is_full and len(found) <= SWEEP_CONVERSATIONS:
        rows = _inactive(is_archived, is_pinned)(project_id, activity, bound, BATCH_ROWS).fetchall()
        found += [id for id, activity, updated_at in rows if not _is_kept(activity, updated_at)]
        is_full = len(rows) == BATCH_ROWS
        activity = rows[-1][1] if rows else activity
    return found[: SWEEP_CONVERSATIONS + 1]


def _purge_some() -> bool:
    """Purge the oldest in the trash that has been there for too long, or a piece of it."""
    found = _oldest(_expired_before()).fetchone()
    if found is None:
        return False
    *columns, deleted_at = found
    row = ConversationRow.decoded(columns)
    if delete_messages(row.id, SWEEP_MESSAGES) == SWEEP_MESSAGES:
        if row.activity != BEING_PURGED:
            begin_purge(row.id)
    else:
        conversations.purge(row, deleted_at)
    return True


sweep_if_due = Chore(sweep, "The trash could not be swept", SWEEP_SECONDS)


def delete_messages(conversation_id: str, limit: int) -> int:
    """Delete the oldest messages of a conversation for ever, and return how many these were."""
    search_index.forget_oldest(conversation_id, limit)
    return int(_delete_oldest(conversation_id, limit).rowcount)


def waiting() -> int:
    """How many conversations are to be purged or put into the trash now."""
    expired = _count_expired(_expired_before()).fetchone()[0]
    if settings().retention_days is None:
        return int(expired)
    bound = first_id_at(ago(_retention_seconds()))
    inactive = sum(not _is_kept(*row) for row in _all_inactive(bound))
    return int(expired) + inactive


def purge_all(progress: Callable[[int], object]) -> int:
    """Do all that is to be done now, and return how many conversations were purged or discarded.

    `progress` is called with the number of those that are done. Each step is a transaction.
    """
    global _lap_project
    _lap_project = ""
    total = left = waiting()
    while sweep() or _lap_project:
        if left != (left := waiting()):
            progress(total - left)
    progress(total)
    return total


# --- Queries


@cache
def _page(by_project: bool, by_user: bool) -> prepared:
    """A page of the trash of a project or all, of a user or all."""

    def build(project_id: Any, user_id: Any, deleted_at: Any, id: Any, limit: Any) -> Any:
        where = [Conversation.project_id == project_id] * by_project
        where += [Conversation.user_id == user_id] * by_user
        place = (Conversation.deleted_at, Conversation.id)
        return (
            Conversation.select(*CONVERSATION_COLUMNS, Conversation.deleted_at)
            .where(
                *where,
                ~IS_KEPT,
                Conversation.activity > BEING_PURGED,
                Tuple(*place) < Tuple(deleted_at, id),
            )
            .order_by(*(column.desc() for column in place))
            .limit(limit)
        )

    return prepared(build)


@prepared
def _in_trash(id: Any) -> Any:
    """One conversation in the trash, locked where the engine locks rows."""
    query = Conversation.select(*CONVERSATION_COLUMNS, Conversation.deleted_at).where(
        Conversation.id == id, ~IS_KEPT, Conversation.activity > BEING_PURGED
    )
    return query.for_update() if database.for_update else query


@prepared
def _oldest(expired: Any) -> Any:
    """What has been in the trash for the longest time, if that is too long."""
    query = (
        Conversation.select(*CONVERSATION_COLUMNS, Conversation.deleted_at)
        .where(~IS_KEPT, Conversation.deleted_at < expired, ~Conversation.is_held)
        .order_by(Conversation.deleted_at, Conversation.id)
        .limit(1)
    )
    # On PostgreSQL, another transaction may be at it: leave it to that one.
    return query.for_update(skip_locked=True) if database.for_update else query


@prepared
def _count_expired(expired: Any) -> Any:
    """How many have been in the trash for too long."""
    return Conversation.select(fn.COUNT(1)).where(~IS_KEPT, Conversation.deleted_at < expired)


@prepared
def _all_inactive(bound: Any) -> Any:
    """The activity of those that are not held and had none for too long, and their last write."""
    return Conversation.select(Conversation.activity, Conversation.updated_at).where(
        IS_KEPT, Conversation.activity < bound, ~Conversation.is_held
    )


@cache
def _inactive(is_archived: bool, is_pinned: bool) -> prepared:
    """A few of a project with these flags, behind an activity, that had none since a bound."""

    def build(project_id: Any, activity: Any, bound: Any, limit: Any) -> Any:
        flags = zip(FLAGS, (is_archived, is_pinned), strict=True)
        return (
            Conversation.select(Conversation.id, Conversation.activity, Conversation.updated_at)
            .where(
                Conversation.project_id == project_id,
                *(column == flag for column, flag in flags),
                Conversation.activity > activity,
                Conversation.activity < bound,
                ~Conversation.is_held,
                IS_KEPT,
            )
            .order_by(Conversation.activity)
            .limit(limit)
        )

    return prepared(build)


@prepared
def _delete_oldest(conversation_id: Any, limit: Any) -> Any:
    """A few of a conversation's messages."""
    some = (
        Message.select(Message.position)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.position)
        .limit(limit)
    )
    return Message.delete().where(
        Message.conversation_id == conversation_id, Message.position.in_(some)
    )


@prepared
def _count(conversation_id: Any) -> Any:
    """How many messages a conversation has."""
    return Message.select(fn.COUNT(1)).where(Message.conversation_id == conversation_id)


@prepared
def begin_purge(id: Any) -> Any:
    """From now on it cannot be restored."""
    return Conversation.update(activity=BEING_PURGED).where(Conversation.id == id)


@prepared
def _restore(id: Any, version: Any, updated_at: Any) -> Any:
    """The way out of the trash."""
    return Conversation.update(
        deleted_at=None,
        version=version,
        updated_at=updated_at,
        **conversations.numbers_of_change(),
    ).where(Conversation.id == id)
