"""Messages: append at the end of a conversation, find, page, edit and remove them."""

import json
from bisect import bisect
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from . import conversations, event_log, streams
from .clock import new_id
from .engine.database import snapshot, transaction
from .engine.prepared import insertion, prepared, prepared_for_list
from .errors import Invalid, MessageNotFound
from .models import (
    COMPLETED,
    DELETED,
    IN_PROGRESS,
    MESSAGE,
    MESSAGE_COLUMNS,
    Content,
    ConversationRow,
    EventRow,
    Message,
    MessageRow,
)
from .scope import Scope
from .streams import settled

MAX_POSITION = 2**63 - 1


class Draft(NamedTuple):
    """A message to be appended. `content` is text or a list of JSON parts, stored verbatim."""

    role: str
    content: Content
    status: str = COMPLETED
    metadata: dict[str, Any] | None = None


class MessageSlice(NamedTuple):
    """Messages, and whether there are more in the direction asked for."""

    rows: list[MessageRow]
    has_more: bool


@transaction
def append(scope: Scope, conversation_id: str, drafts: Sequence[Draft]) -> list[MessageRow]:
    """Append all of `drafts`, in order, or none.

    Positions and ids are given out under the conversation's lock, so both grow together.
    Raises ConversationNotFound, and Invalid for content that cannot be stored.
    """
    conversation = conversations.lock(scope, conversation_id)
    created_at = conversations.later(conversation.updated_at)
    version, last_id = conversation.version, conversation.last_message_id
    rows = []
    for draft in drafts:
        version, last_id = version + 1, new_id(after=last_id)
        length = None
        if draft.status == IN_PROGRESS:
            length = _length_of_text(draft.content)
            streams.open_stream(conversation_id, last_id, length, created_at)
        stored = MessageRow(
            id=last_id,
            conversation_id=conversation_id,
            role=draft.role,
            content=_encode(draft.content),
            status=draft.status,
            metadata=_encode_object(draft.metadata),
            created_at=created_at,
            updated_at=created_at,
            position=version,
            content_type=_type_of(draft.content),
            revision=version,
            streamed_from=length,
        )
        _insert(*stored)
        rows.append(stored)
    conversations.advance(conversation, version, last_id)
    return MessageRow.decoded(rows)


@settled
@snapshot
def find(scope: Scope, conversation_id: str, message_id: str) -> MessageRow:
    """Raises ConversationNotFound, MessageNotFound."""
    conversations.find(scope, conversation_id)
    return streams.overlay([_stored(conversation_id, message_id)])[0]


@settled
@snapshot
def page_for(
    scope: Scope,
    conversation_id: str,
    limit: int = 100,
    after: str | None = None,
    before: str | None = None,
    descending: bool = False,
) -> MessageSlice:
    """A page by cursor, which is a message's id. The message may since have been deleted.

    `after` and `before` follow the order asked for. Raises ConversationNotFound.
    """
    conversation = conversations.find(scope, conversation_id)
    # Read away from the cursor, then put the rows into the order asked for.
    upwards = bool(before) if descending else not before
    bound = _position_of(conversation, upwards, after or before)
    found = _page(upwards)(conversation_id, bound, limit + 1).fetchall()
    rows = MessageRow.decoded(found[:limit])
    if upwards == descending:
        rows.reverse()
    return MessageSlice(streams.overlay(rows), len(found) > limit)


def all_in(conversation_ids: Sequence[str]) -> dict[str, list[MessageRow]]:
    """All messages of some conversations, oldest first, by conversation.

    It takes one query, and two more if some are streaming. To be called under `settled`.
    """
    by_id: dict[str, list[MessageRow]] = {id: [] for id in conversation_ids}
    if by_id:
        for row in streams.overlay(MessageRow.decoded(_all_in(conversation_ids))):
            by_id[row.conversation_id].append(row)
    return by_id


@settled
@transaction
def edit(scope: Scope, conversation_id: str, message_id: str, **changes: Any) -> MessageRow:
    """Set `content`, `metadata` or `status`, whether the message is streaming or not.

    Setting what is set already changes nothing: if a request is repeated, followers are told once.
    The status `in_progress` opens its stream, or opens it again, at the end of the text. Any other
    status ends it. Raises ConversationNotFound, MessageNotFound, Invalid.
    """
    conversation = conversations.lock(scope, conversation_id)
    stored = streams.overlay([_stored(conversation_id, message_id)])[0]
    row = stored._replace(**changes)
    if _written(row) == _written(stored):
        return stored
    version = conversation.version + 1
    conversation = conversations.advance(conversation, version, conversation.last_message_id)
    streams.close_stream(conversation_id, message_id)
    event_log.forget(conversation_id, message_id)
    length = None
    if row.status == IN_PROGRESS:
        length = _length_of_text(row.content)
        streams.open_stream(conversation_id, message_id, length, conversation.updated_at)
    row = row._replace(
        updated_at=conversation.updated_at,
        content_type=_type_of(row.content),
        revision=version,
        streamed_from=length,
    )
    _update(
        conversation_id, row.position, _encode(row.content), row.content_type, row.status,
        _encode_object(row.metadata), row.updated_at, row.revision, row.streamed_from,
    )  # fmt: skip
    event_log.record(EventRow(conversation_id, version, MESSAGE, message_id))
    return row


@transaction
def remove(scope: Scope, conversation_id: str, message_id: str) -> None:
    """Delete a message, whether it is streaming or not.

    Raises ConversationNotFound, MessageNotFound.
    """
    conversation = conversations.lock(scope, conversation_id)
    row = _stored(conversation_id, message_id)
    streams.close_stream(conversation_id, message_id)
    event_log.forget(conversation_id, message_id)
    _delete(conversation_id, row.position)
    newest = _newest(conversation_id).fetchone()
    version = conversation.version + 1
    conversations.advance(conversation, version, newest[0] if newest else None)
    event_log.record(EventRow(conversation_id, version, DELETED, message_id))


def _stored(conversation_id: str, message_id: str) -> MessageRow:
    """The row itself, without what has streamed in since. Raises MessageNotFound."""
    row = _by_id(conversation_id, message_id).fetchone()
    if row is None:
        raise MessageNotFound(message_id)
    return MessageRow.decoded([row])[0]


def _type_of(content: Content) -> str:
    return "text" if isinstance(content, str) else "parts"


def _written(row: MessageRow) -> tuple[object, ...]:
    """What an edit may change, as stored. (Python takes `[1]` and `[true]` for equal.)"""
    content_type = _type_of(row.content)
    return content_type, _encode(row.content), _encode_object(row.metadata), row.status


def _encode(content: Content) -> str:
    return content if isinstance(content, str) else _json(content, "content")


def _encode_object(metadata: dict[str, Any] | None) -> Any:
    return None if metadata is None else _json(metadata, "metadata")


def _json(value: Any, field: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise Invalid(f"A number in {field} is too large for JSON.", field) from None


def _length_of_text(content: Content) -> int:
    if not isinstance(content, str):
        raise Invalid("Only text can be in_progress: send content as a string.", "content")
    return len(content)


def _position_of(conversation: ConversationRow, upwards: bool, cursor: str | None) -> int:
    """The position behind which a page begins.

    Ids grow with positions, so a cursor whose message is gone still has its place: between its
    neighbours.
    """
    if cursor is None:
        return 0 if upwards else MAX_POSITION
    found = _position(conversation.id, cursor).fetchone()
    if found is not None:
        return int(found[0])
    positions = range(1, conversation.version + 1)
    older = bisect(positions, cursor, key=lambda position: _id_from(conversation.id, position))
    return older if upwards else older + 1


def _id_from(conversation_id: str, position: int) -> str:
    """The id of the first message from a position on, or what is greater than any id."""
    found = _first_from(conversation_id, position).fetchone()
    return str(found[0]) if found else conversations.AFTER_ALL_IDS


_insert = insertion(Message, MessageRow._fields)


@prepared
def _by_id(conversation_id: Any, id: Any) -> Any:
    """One message."""
    return Message.select(*MESSAGE_COLUMNS).where(
        Message.conversation_id == conversation_id, Message.id == id
    )


@prepared_for_list
def _all_in(conversation_ids: Any) -> Any:
    """All messages of some conversations, those of each together and oldest first."""
    return (
        Message.select(*MESSAGE_COLUMNS)
        .where(Message.conversation_id.in_(conversation_ids))
        .order_by(Message.conversation_id, Message.position)
    )


@cache
def _page(upwards: bool) -> prepared:
    """The messages on one side of a position, the nearest first."""

    def build(conversation_id: Any, bound: Any, limit: Any) -> Any:
        compare = Message.position > bound if upwards else Message.position < bound
        order = Message.position.asc() if upwards else Message.position.desc()
        query = Message.select(*MESSAGE_COLUMNS)
        query = query.where(Message.conversation_id == conversation_id, compare)
        return query.order_by(order).limit(limit)

    return prepared(build)


@prepared
def _position(conversation_id: Any, id: Any) -> Any:
    """Where a message stands."""
    return Message.select(Message.position).where(
        Message.conversation_id == conversation_id, Message.id == id
    )


@prepared
def _first_from(conversation_id: Any, position: Any) -> Any:
    """The first message from a position on."""
    return (
        Message.select(Message.id)
        .where(Message.conversation_id == conversation_id, Message.position >= position)
        .order_by(Message.position)
        .limit(1)
    )


@prepared
def _newest(conversation_id: Any) -> Any:
    """The id of the conversation's last message."""
    return (
        Message.select(Message.id)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.position.desc())
        .limit(1)
    )


@prepared
def _update(
    conversation_id: Any, position: Any, content: Any, content_type: Any, status: Any,
    metadata: Any, updated_at: Any, revision: Any, streamed_from: Any,
) -> Any:  # fmt: skip
    """All that an edit may change in a message."""
    return Message.update(
        content=content, content_type=content_type, status=status, metadata=metadata,
        updated_at=updated_at, revision=revision, streamed_from=streamed_from,
    ).where(Message.conversation_id == conversation_id, Message.position == position)  # fmt: skip


@prepared
def _delete(conversation_id: Any, position: Any) -> Any:
    """One message."""
    return Message.delete().where(
        Message.conversation_id == conversation_id, Message.position == position
    )
