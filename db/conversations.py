"""Conversations: start, find, change and remove them; lock one to write to it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from itertools import compress
from typing import Any

from peewee import SQL, fn

from . import event_log, search_index, tags, tombstones
from .change_numbers import next_number
from .clock import new_id
from .counters import PURGED, counted
from .engine.database import database, query, snapshot, statement, transaction, transaction_time
from .engine.notices import notify
from .engine.prepared import insertion, prepared, prepared_for_list
from .errors import ConversationNotFound, Held, Invalid, KeyTaken, StalePrecondition
from .models import (
    CONVERSATION,
    CONVERSATION_COLUMNS,
    IS_KEPT,
    Conversation,
    ConversationRow,
    EventRow,
    json_of,
)
from .scope import Scope
from .settings import settings

BATCH_ROWS = 1000  # asked for by id at a time
FORKED_FROM = "forked_from"  # in the metadata of a fork: its origin
# In the metadata of what was imported: what the export says and Confab has no column for. It may be
# larger than what a request may send.
IMPORT = "import"

# Whether a version is the one that the caller knows.
IfMatch = Callable[[int], bool]


def start(
    scope: Scope,
    project_id: str,
    title: str | None = None,
    *,
    key: str | None = None,
    tags: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    id: str | None = None,
) -> ConversationRow:
    """Create an empty conversation in the name of the scope's user.

    Raises KeyTaken if this user has another one with the key, ConversationNotFound if somebody has
    the `id`, and Invalid.
    """
    start_it = _start_tagged if tags else _start
    return start_it(scope, project_id, title, key, tags or None, metadata, id)


@statement
def _start(
    scope: Scope,
    project_id: str,
    title: str | None,
    key: str | None,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    id: str | None,
) -> ConversationRow:
    created_at, made_id = transaction_time.get(), new_id()
    row = ConversationRow(
        id=id or made_id,
        project_id=project_id,
        user_id=scope.user_id,
        title=title,
        is_archived=False,
        created_at=created_at,
        updated_at=created_at,
        last_message_id=None,
        version=tombstones.first_version(id) if id else 0,
        key=key,
        is_pinned=False,
        is_held=False,
        tags=tags,
        metadata=metadata,
        activity=made_id,
        is_branched=False,
    )
    _refuse_unstorable(row)
    if key is None and id is None:
        _insert(*row.encoded)
        notify_feeds(row)
        return row
    while _insert_unless_taken(*row.encoded).rowcount == 0:
        if key is not None and (holder := by_key(scope, project_id, key)) is not None:
            raise KeyTaken(holder)
        if id is not None:
            raise ConversationNotFound(id)
        # The holder of the key was deleted meanwhile, so the key is free.
    notify_feeds(row)
    return row


@transaction
def _start_tagged(*fields: Any) -> ConversationRow:
    row = _start(*fields)
    tags.store(row)
    return row


def store(row: ConversationRow) -> bool:
    """Insert a row as it is, unless its id is taken, and say whether it was inserted."""
    if _insert_unless_taken(*row.encoded).rowcount == 0:
        return False
    if row.tags:
        tags.store(row)
    notify_feeds(row)
    return True


def _refuse_unstorable(row: ConversationRow) -> None:
    """Raises Invalid if the metadata cannot be stored. (The routes have limits to its size.)"""
    try:
        json_of(row.metadata)
    except ValueError:
        raise Invalid("A number in metadata is too large for JSON.", "metadata") from None


def by_key(scope: Scope, project_id: str, key: str) -> str | None:
    """The id of the conversation that the scope's user, or nobody, has under a key."""
    found = _by_key(project_id, scope.user_id or "", key).fetchone()
    return found[0] if found else None


@snapshot
def named(scope: Scope, name: str) -> str | None:
    """The id of the conversation that a client has under a name of its choice.

    The name is the conversation's id, or else its key. Of several with that key, among those that
    the scope covers, it is the oldest.
    """
    with suppress(ConversationNotFound):
        return find(scope, name).id
    owner = [value for value in scope if value is not None]
    found = _oldest_by_key(*[value is not None for value in scope])(name, *owner).fetchone()
    return found[0] if found else None


def find(scope: Scope, conversation_id: str) -> ConversationRow:
    """Raises ConversationNotFound if the scope does not cover it."""
    return _covered(scope, conversation_id, _by_id(conversation_id).fetchone())


@query
def changed(versions: Mapping[str, int]) -> set[str]:
    """Of these conversations, those that have another version now, or none."""
    ids = list(versions)
    found: dict[str, int] = {}
    for start in range(0, len(ids), BATCH_ROWS):
        found.update(_versions(ids[start : start + BATCH_ROWS]).fetchall())
    return {id for id in ids if found.get(id) != versions[id]}


@transaction
def change(
    scope: Scope, conversation_id: str, if_match: IfMatch | None = None, **changes: Any
) -> ConversationRow:
    """Set fields of a conversation. Setting what is set already changes nothing.

    `metadata` may also be a function that makes the new one of the one that is there.

    Raises ConversationNotFound, Invalid, and StalePrecondition if `if_match` refuses the version.
    """
    row = lock(scope, conversation_id, if_match)
    if callable(make := changes.get("metadata")):
        changes["metadata"] = make(row.metadata)
    if changes.get("tags") == []:
        changes["tags"] = None
    changed = row._replace(**changes)
    _refuse_unstorable(changed)
    if changed.encoded == row.encoded:
        return row
    changed = changed._replace(version=row.version + 1, updated_at=later(row.updated_at))
    encoded = ConversationRow._make(changed.encoded)
    _update(*(getattr(encoded, name) for name in _CHANGEABLE), changed.id)
    if changed.tags != row.tags:
        tags.store(changed)
    elif changed.tags:
        tags.set_flags(changed)
    tell(changed)
    notify(changed.id)
    notify_feeds(changed)
    return changed


def tell(row: ConversationRow) -> None:
    """Note that the fields of the conversation changed, under its present version."""
    event_log.record(EventRow(row.id, row.version, CONVERSATION))


@transaction
def remove(scope: Scope, conversation_id: str, if_match: IfMatch | None = None) -> None:
    """Put a conversation into the trash, or purge it at once where there is none (TRASH_DAYS=0).

    Raises ConversationNotFound, Held, and StalePrecondition if `if_match` refuses the version.
    """
    row = lock(scope, conversation_id, if_match)
    refuse_held(row)
    if settings().trash_days == 0:
        purge(row, transaction_time.get())
    else:
        discard(row)


def discard(row: ConversationRow) -> None:
    """Put the locked `row` into the trash: no verb finds it there but those of `trash`."""
    if row.tags:
        tags.store(row._replace(tags=None))
    _set_deleted(row.id, transaction_time.get(), row.version + 1)
    notify(row.id)
    notify_feeds(row)


def purge(row: ConversationRow, deleted_at: str) -> None:
    """Delete the locked `row` for ever. The foreign keys take all along that belongs to it."""
    counted[PURGED] += 1
    search_index.forget_conversation(row.id)
    # In this order, since the row may have the greatest number.
    tombstones.raise_one(row, deleted_at)
    _delete(row.id)
    notify(row.id)
    notify_feeds(row)


def notify_feeds(row: ConversationRow) -> None:
    """Tell those who wait for changes of the scopes that cover the conversation."""
    for scope in scopes_of(row.project_id, row.user_id):
        notify(scope)


def scopes_of(project_id: str, user_id: str | None) -> set[Scope]:
    """The scopes that cover a conversation."""
    return {Scope(p, u) for p in (project_id, None) for u in (user_id, None)}


def refuse_held(row: ConversationRow) -> None:
    """Raises Held if nothing of the conversation may be deleted."""
    if row.is_held:
        raise Held("The conversation is held: lift the hold (is_held) before you delete.")


def lock(scope: Scope, conversation_id: str, if_match: IfMatch | None = None) -> ConversationRow:
    """The row, which stays as it is until the surrounding transaction ends.

    Every verb that writes to a conversation begins with this, so that versions are given out one by
    one. Raises ConversationNotFound and StalePrecondition.
    """
    row = _covered(scope, conversation_id, _by_id_for_update(conversation_id).fetchone())
    if if_match is not None and not if_match(row.version):
        raise StalePrecondition(
            "The conversation has changed since: get it again and repeat with its new ETag.",
            version=row.version,
        )
    return row


def advance(
    row: ConversationRow,
    version: int,
    last_message_id: str | None,
    is_news: bool = True,
    is_change: bool = True,
) -> ConversationRow:
    """Store that the messages of the locked `row` changed, and return it as it is then.

    Notify those who wait for it, unless there is nothing to tell them. A piece of a stream is news,
    and no change for the feed. The conversation's activity stays.
    """
    updated_at = later(row.updated_at)
    (_advance if is_change else _advance_unnumbered)(row.id, version, last_message_id, updated_at)
    if is_news:
        notify(row.id)
    if is_change:
        notify_feeds(row)
    return row._replace(version=version, last_message_id=last_message_id, updated_at=updated_at)


def grow(
    row: ConversationRow,
    version: int,
    newest_id: str,
    is_branched: bool,
    leaf_id: str | None = None,
    updated_at: str | None = None,
) -> ConversationRow:
    """Store that messages were appended to the locked `row`, and return it as it is then.

    The newest one is the active leaf, and its id the conversation's activity, which never goes
    back. What is imported may have another leaf, and a time of its own.
    """
    row = row._replace(
        version=version,
        last_message_id=leaf_id or newest_id,
        updated_at=updated_at or later(row.updated_at),
        activity=max(row.activity, newest_id),
        is_branched=is_branched,
    )
    _grow(row.id, version, row.last_message_id, row.updated_at, row.activity, is_branched)
    tags.move(row)
    notify(row.id)
    notify_feeds(row)
    return row


def later(than: str) -> str:
    """The transaction's time, or `than` if the clock went back: a row's time never goes back."""
    return max(transaction_time.get(), than)


def _covered(scope: Scope, conversation_id: str, row: tuple[Any, ...] | None) -> ConversationRow:
    if row is None:
        raise ConversationNotFound(conversation_id)
    found = ConversationRow.decoded(row)
    if not scope.covers(found):
        raise ConversationNotFound(conversation_id)
    return found


_numbered = {Conversation.changed: next_number}
_insert = insertion(Conversation, ConversationRow._fields, computed=_numbered)
_insert_unless_taken = insertion(
    Conversation, ConversationRow._fields, unless_taken=True, computed=_numbered
)


# "Deleted" is decided here, and in `lists` for lists: what is in the trash is not found.


@prepared
def _by_id(id: Any) -> Any:
    """One conversation."""
    return Conversation.select(*CONVERSATION_COLUMNS).where(Conversation.id == id, IS_KEPT)


@prepared
def _by_id_for_update(id: Any) -> Any:
    """One conversation, locked where the engine locks rows."""
    query = Conversation.select(*CONVERSATION_COLUMNS).where(Conversation.id == id, IS_KEPT)
    return query.for_update() if database.for_update else query


@prepared
def _by_key(project_id: Any, user_id: Any, key: Any) -> Any:
    """The conversation that a user, or "" for nobody, has under a key."""
    return Conversation.select(Conversation.id).where(
        Conversation.project_id == project_id,
        fn.COALESCE(Conversation.user_id, SQL("''")) == user_id,
        Conversation.key == key,
        Conversation.key.is_null(False),
        IS_KEPT,
    )


@cache
def _oldest_by_key(has_project: bool, has_user: bool) -> prepared:
    """The oldest conversation with a key, in a project, of a user, or both."""

    def build(key: Any, *owner: Any) -> Any:
        columns = compress(
            (Conversation.project_id, fn.COALESCE(Conversation.user_id, SQL("''"))),
            (has_project, has_user),
        )
        query = Conversation.select(fn.MIN(Conversation.id)).where(
            Conversation.key == key, Conversation.key.is_null(False), IS_KEPT
        )
        for column, value in zip(columns, owner, strict=True):
            query = query.where(column == value)
        return query

    return prepared(build, 1 + has_project + has_user)


@prepared_for_list
def _versions(ids: Any) -> Any:
    """How far some conversations have come."""
    return Conversation.select(Conversation.id, Conversation.version).where(
        Conversation.id.in_(ids), IS_KEPT
    )


def numbers_of_change() -> dict[str, Any]:
    """What each change that the feed tells sets in its conversation, for an UPDATE of it."""
    return {"changed": next_number(), "indexed_version": search_index.indexed_version()}


_CHANGEABLE = (
    *("title", "is_archived", "is_pinned", "is_held", "tags", "metadata"),
    *("last_message_id", "is_branched", "updated_at", "version"),
)


def _build_update(*values: Any) -> Any:
    *changes, id = values
    named = dict(zip(_CHANGEABLE, changes, strict=True))
    return Conversation.update(**named, **numbers_of_change()).where(Conversation.id == id)


_update = prepared(_build_update, len(_CHANGEABLE) + 1)


@prepared
def _advance(id: Any, version: Any, last_message_id: Any, updated_at: Any) -> Any:
    """What a change of the messages moves in their conversation."""
    return Conversation.update(
        version=version,
        last_message_id=last_message_id,
        updated_at=updated_at,
        **numbers_of_change(),
    ).where(Conversation.id == id)


@prepared
def _advance_unnumbered(id: Any, version: Any, last_message_id: Any, updated_at: Any) -> Any:
    """What a piece of a stream moves. It writes no index."""
    return Conversation.update(
        version=version, last_message_id=last_message_id, updated_at=updated_at
    ).where(Conversation.id == id)


@prepared
def _grow(
    id: Any, version: Any, last_message_id: Any, updated_at: Any, activity: Any, is_branched: Any
) -> Any:
    """What an appended message moves. Only this moves the indexes of the activity."""
    return Conversation.update(
        version=version,
        last_message_id=last_message_id,
        updated_at=updated_at,
        activity=activity,
        is_branched=is_branched,
        **numbers_of_change(),
    ).where(Conversation.id == id)


@prepared
def _set_deleted(id: Any, deleted_at: Any, version: Any) -> Any:
    """The way into the trash."""
    return Conversation.update(deleted_at=deleted_at, version=version, **numbers_of_change()).where(
        Conversation.id == id
    )


@prepared
def _delete(id: Any) -> Any:
    """One conversation, and by the foreign keys all that belongs to it."""
    return Conversation.delete().where(Conversation.id == id)
