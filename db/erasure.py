"""Erasure: all that is stored of one person, told in full first, and then removed for good.

Each conversation goes in short transactions, so nobody waits for a large one. From the first of
them on it is in the trash and cannot be restored. Its tombstone names no user.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import (
    branches,
    conversations,
    idempotency_keys,
    kept_answers,
    search_index,
    streams,
    tombstones,
    user_tokens,
)
from .clock import now
from .engine.database import cause_of, database, driver_errors, snapshot, transaction
from .engine.prepared import prepared
from .errors import Unavailable
from .models import (
    CONVERSATION_COLUMNS,
    IS_KEPT,
    Conversation,
    ConversationRow,
    Imported,
    Message,
    MessageRow,
    Tombstone,
)
from .trash import BEING_PURGED, begin_purge, delete_messages

MESSAGES_AT_ONCE = 500  # deleted by one transaction


class Receipt(NamedTuple):
    """What was erased. The digest is SHA-256 over the ids of the conversations, one a line."""

    user_id: str
    project_id: str | None
    conversations: int
    messages: int
    stored_answers: int  # to requests with an Idempotency-Key, and those in no conversation
    tombstones: int
    tokens: int
    held: list[str]  # the conversations that a legal hold keeps
    erased_at: str
    sha256: str
    is_overwritten: bool  # else the bytes of what was deleted may be found by who has the file
    remains: str  # what the engine may still hold, and for how long


def erase(user_id: str, project_id: str | None, progress: Callable[[int, int], object]) -> Receipt:
    """Remove all of a person's, in one project or all, but what is held.

    `progress` is called with the number of conversations that are done, and how many there are.
    """
    found = _of_user(user_id, project_id)
    erased: list[str] = []
    held: list[str] = []
    # First, as long as the ids are there by which they are found: this may be broken off.
    named = _named(user_id, project_id, [id for id, is_held, _ in found if not is_held])
    # A key may stand for requests to several projects, so in one project only the ids tell.
    caller = user_id if project_id is None else None
    answers = idempotency_keys.forget(named, caller)
    count = 0
    for number, (id, _, _) in enumerate(found):
        progress(number, len(found))
        if _begin(id):
            while (deleted := _delete_some(id)) > 0:
                count += deleted
            _end(id)
            erased.append(id)
        else:
            held.append(id)
    progress(len(found), len(found))
    purged = _forget_tombstones(user_id, project_id)
    _forget_imports(user_id, project_id)
    search_index.rewrite()
    kept = kept_answers.forget(user_id, project_id)
    answers += idempotency_keys.forget(named, caller)  # those that came meanwhile
    tokens = user_tokens.revoke_all(user_id, project_id)
    is_overwritten, remains = _overwrite()  # after all else
    digest = hashlib.sha256("".join(f"{id}\n" for id in sorted(erased)).encode()).hexdigest()
    return Receipt(
        user_id=user_id,
        project_id=project_id,
        conversations=len(erased),
        messages=count,
        stored_answers=answers + kept,
        tombstones=len(purged),
        tokens=tokens,
        held=held,
        erased_at=now(),
        sha256=digest,
        is_overwritten=is_overwritten,
        remains=remains,
    )


def _overwrite() -> tuple[bool, str]:
    """Whether the bytes of what was deleted are overwritten, and what remains.

    The rows are gone for good before. So if it fails, there is a receipt all the same.
    """
    try:
        with driver_errors():
            return True, database.obj.overwrite_deleted()
    except Unavailable as error:
        return False, (
            f"The rows are gone, and their bytes are not yet overwritten: {cause_of(error)}. Stop "
            "what reads the file for long, such as Litestream, and run the same command again."
        )


def records_of(user_id: str, project_id: str | None) -> Iterator[dict[str, Any]]:
    """All that there is of a person: each conversation, in the trash or not, and its messages.

    The records are those of the API, with a `type`. Messages come by age, those of all branches.
    """
    for id, _, deleted_at in _of_user(user_id, project_id):
        row, rows = _read(id)
        if row is not None:
            yield conversation_record(row, deleted_at)
            yield from map(message_record, rows)
    for kept in kept_answers.all_of(user_id, project_id):
        said = [
            {"role": it.role, "content": it.content, "status": it.status, "metadata": it.metadata}
            for it in kept.messages
        ]
        yield {
            "type": "kept_answer", "id": kept.id, "project_id": kept.project_id, "messages": said,
        }  # fmt: skip


def conversation_record(row: ConversationRow, deleted_at: str | None = None) -> dict[str, Any]:
    """A conversation as the API shows it, without its messages."""
    record = {
        "type": "conversation",
        "id": row.id,
        "project_id": row.project_id,
        "title": row.title,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "user_id": row.user_id,
        "key": row.key,
        "is_archived": bool(row.is_archived),
        "is_pinned": bool(row.is_pinned),
        "is_held": bool(row.is_held),
        "tags": row.tags or [],
        "metadata": row.metadata,
        "last_message_id": row.last_message_id,
    }
    return record if deleted_at is None else {**record, "deleted_at": deleted_at}


def message_record(row: MessageRow) -> dict[str, Any]:
    """A message as the API shows it."""
    return {
        "type": "message",
        "id": row.id,
        "conversation_id": row.conversation_id,
        "role": row.role,
        "content": row.content,
        "status": row.status,
        "metadata": row.metadata,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "parent_id": row.parent_id,
        "client_id": row.client_id,
    }


# --- Each in a transaction of its own


@snapshot
def _of_user(user_id: str, project_id: str | None) -> list[tuple[str, bool, str | None]]:
    """The id of each conversation, whether it is held, and when it was deleted."""
    found = _all_of_user(user_id).fetchall()
    return sorted(
        (id, held, gone) for id, project, held, gone in found if project_id in (None, project)
    )


@snapshot
def _read(id: str) -> tuple[ConversationRow | None, list[MessageRow]]:
    found = _by_id(id).fetchone()
    if found is None:
        return None, []
    row = ConversationRow.decoded(found)
    rows = branches.page(id, branches.LINE, True, 0, branches.MAX_POSITION, linked=True)
    return row, streams.overlay(MessageRow.decoded(rows), settles=False)


@transaction
def _begin(id: str) -> bool:
    """From now on nobody finds it. False if it is held."""
    found = _by_id_for_update(id).fetchone()
    if found is None:  # somebody has purged it meanwhile
        return True
    row = ConversationRow.decoded(found)
    if row.is_held:
        return False
    if row.activity != BEING_PURGED:
        conversations.discard(row)
        begin_purge(id)
    return True


@snapshot
def _named(user_id: str, project_id: str | None, conversation_ids: list[str]) -> set[str]:
    """The ids by which a stored answer may name what is to be erased."""
    named = {message_id for id in conversation_ids for (message_id,) in _all_messages(id)}
    named |= {kept.id for kept in kept_answers.all_of(user_id, project_id)}
    return named | {*conversation_ids, *_tombstones_in(user_id, project_id)}


@transaction
def _delete_some(id: str) -> int:
    _by_id_for_update(id)  # so that the search index is not just taking them in
    return delete_messages(id, MESSAGES_AT_ONCE)


@transaction
def _end(id: str) -> None:
    found = _by_id_for_update(id).fetchone()
    if found is not None:
        conversations.purge(ConversationRow.decoded(found)._replace(user_id=None), now())


@transaction
def _forget_tombstones(user_id: str, project_id: str | None) -> list[str]:
    ids = _tombstones_in(user_id, project_id)
    for id in ids:
        tombstones.forget_user(id)
    return ids


def _tombstones_in(user_id: str, project_id: str | None) -> list[str]:
    found = _tombstones_of(user_id).fetchall()
    return [id for id, project in found if project_id in (None, project)]


@transaction
def _forget_imports(user_id: str, project_id: str | None) -> None:
    """Forget what was imported, but for what a legal hold keeps."""
    for project, source, conversation_id in _imports_of(user_id).fetchall():
        if project_id in (None, project) and _by_id(conversation_id).fetchone() is None:
            _forget_import(project, user_id, source)


@prepared
def _all_of_user(user_id: Any) -> Any:
    """All conversations of a user, in the trash or not."""
    columns = (
        *(Conversation.id, Conversation.project_id, Conversation.is_held, Conversation.deleted_at),
    )
    kept, discarded = (
        Conversation.select(*columns).where(Conversation.user_id == user_id, where)
        for where in (IS_KEPT, ~IS_KEPT)
    )
    return kept.union_all(discarded)


@prepared
def _by_id(id: Any) -> Any:
    """One conversation, in the trash or not."""
    return Conversation.select(*CONVERSATION_COLUMNS).where(Conversation.id == id)


@prepared
def _all_messages(id: Any) -> Any:
    """The ids of all messages of a conversation."""
    return Message.select(Message.id).where(Message.conversation_id == id)


@prepared
def _by_id_for_update(id: Any) -> Any:
    """The same, locked where the engine locks rows."""
    query = Conversation.select(*CONVERSATION_COLUMNS).where(Conversation.id == id)
    return query.for_update() if database.for_update else query


@prepared
def _tombstones_of(user_id: Any) -> Any:
    """The tombstones of a user."""
    return Tombstone.select(Tombstone.id, Tombstone.project_id).where(Tombstone.user_id == user_id)


@prepared
def _imports_of(user_id: Any) -> Any:
    """What was imported for a user."""
    columns = (Imported.project_id, Imported.source, Imported.conversation_id)
    return Imported.select(*columns).where(Imported.user_id == user_id)


@prepared
def _forget_import(project_id: Any, user_id: Any, source: Any) -> Any:
    return Imported.delete().where(
        Imported.project_id == project_id, Imported.user_id == user_id, Imported.source == source
    )
