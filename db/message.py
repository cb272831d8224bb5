"""Messages: appended at the end of a conversation, clustered there in the order of position."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from peewee import BigIntegerField, CompositeKey, IntegerField, Model, TextField

from .clock import new_id
from .conversation import Conversation, later
from .database import IN_CONVERSATION, database, insertion, padded, prepared, transaction
from .errors import Invalid, MessageNotFound
from .event import DELETED, MESSAGE, Event
from .scope import Scope
from .stream import IN_PROGRESS, Stream, read_with_streams, settling

Content = str | list[Any]
MAX_POSITION = 2**63 - 1


class Draft(NamedTuple):
    """A message to be appended. `content` is text or a list of JSON parts, stored verbatim."""

    role: str
    content: Content
    status: str = "completed"
    metadata: dict[str, Any] | None = None


class MessageRow(NamedTuple):
    """A message as read: JSON decoded, and with the text that has streamed in so far."""

    id: str
    conversation_id: str
    role: str
    content: Content
    status: str
    metadata: dict[str, Any] | None
    created_at: str
    updated_at: str
    position: int
    content_type: str
    # The position of its last whole (re)write: its own, until it is edited.
    revision: int
    # How many code points it had when its stream was opened; None if it never streamed.
    streamed_from: int | None


class MessageSlice(NamedTuple):
    rows: list[MessageRow]
    has_more: bool


class Message(Model):
    conversation_id = TextField()
    position = BigIntegerField()
    id = TextField()
    role = TextField()
    content = TextField()
    content_type = TextField()  # "text", or "parts" for a JSON list
    status = TextField()
    metadata = TextField(null=True)
    created_at = TextField()
    updated_at = TextField()
    revision = BigIntegerField()
    streamed_from = IntegerField(null=True)

    class Meta:
        database = database
        # Reading a conversation is one run of neighbouring rows: 0.63 ms for 100 conversations of
        # ten, 6.5 ms p99 cold, where a rowid table with a UUID key takes 2.13 and 52 ms.
        primary_key = CompositeKey("conversation_id", "position")
        without_rowid = True
        constraints = [IN_CONVERSATION]
        indexes = ((("conversation_id", "id"), True),)

    @classmethod
    @transaction
    def append(
        cls, scope: Scope, conversation_id: str, drafts: Sequence[Draft]
    ) -> list[MessageRow]:
        """Append all of `drafts`, in order, or none.

        Positions and ids are given out under the conversation's lock, so both grow together.
        Raises ConversationNotFound, Invalid.
        """
        conversation = Conversation.lock(scope, conversation_id)
        created_at = later(conversation.updated_at)
        version, last_id = conversation.version, conversation.last_message_id
        rows = []
        for draft in drafts:
            version, last_id = version + 1, new_id(after=last_id)
            length = None
            if draft.status == IN_PROGRESS:
                length = _length_of_text(draft.content)
                Stream.open(conversation_id, last_id, length, created_at)
            row = MessageRow(
                last_id, conversation_id, draft.role, draft.content, draft.status, draft.metadata,
                created_at, created_at, version, _type_of(draft.content), version, length,
            )  # fmt: skip
            _insert(
                *row[:3], _encode(row.content), row.status, _encode_metadata(row.metadata), *row[6:]
            )
            rows.append(row)
        Conversation.advance(conversation, version, last_id)
        return rows

    @classmethod
    @read_with_streams
    def find(cls, scope: Scope, conversation_id: str, message_id: str) -> MessageRow:
        """Raises ConversationNotFound, MessageNotFound."""
        Conversation.find(scope, conversation_id)
        return Stream.overlay([cls.stored(conversation_id, message_id)])[0]

    @classmethod
    @read_with_streams
    def page_for(
        cls,
        scope: Scope,
        conversation_id: str,
        limit: int = 100,
        after: str | None = None,
        before: str | None = None,
        descending: bool = False,
    ) -> MessageSlice:
        """A page by cursor, which is a message's id; the message may since have been deleted.

        `after` and `before` follow the order asked for. Raises ConversationNotFound.
        """
        Conversation.find(scope, conversation_id)
        # Read away from the cursor, then put into the order asked for.
        upwards = bool(before) if descending else not before
        edge = _edge(conversation_id, upwards, after or before)
        found = _page_query(upwards)(conversation_id, edge, limit + 1).fetchall()
        rows = [decode(row) for row in found[:limit]]
        if upwards == descending:
            rows.reverse()
        return MessageSlice(Stream.overlay(rows), len(found) > limit)

    @classmethod
    def of(cls, conversation_ids: Sequence[str]) -> dict[str, list[MessageRow]]:
        """All messages of some conversations, oldest first, by conversation; in one query (and
        one more if some are streaming). To be called in a `read_with_streams` verb."""
        by_id: dict[str, list[MessageRow]] = {id: [] for id in conversation_ids}
        if by_id:
            ids = padded(conversation_ids)
            rows = [decode(row) for row in _all_of(len(ids))(*ids)]
            for row in Stream.overlay(rows):
                by_id[row.conversation_id].append(row)
        return by_id

    @classmethod
    @settling
    @transaction
    def edit(
        cls, scope: Scope, conversation_id: str, message_id: str, **changes: Any
    ) -> MessageRow:
        """Set `content`, `metadata` or `status`, whatever was streaming.

        The status `in_progress` (re)opens its stream at the end of the text; any other ends it.
        Raises ConversationNotFound, MessageNotFound, Invalid.
        """
        conversation = Conversation.lock(scope, conversation_id)
        row = Stream.overlay([cls.stored(conversation_id, message_id)])[0]
        if not changes:
            return row
        row = row._replace(**changes)
        version = conversation.version + 1
        updated_at = Conversation.advance(conversation, version, conversation.last_message_id)
        Stream.close(conversation_id, message_id)
        Event.forget(conversation_id, message_id)
        length = None
        if row.status == IN_PROGRESS:
            length = _length_of_text(row.content)
            Stream.open(conversation_id, message_id, length, updated_at)
        row = row._replace(
            updated_at=updated_at,
            content_type=_type_of(row.content),
            revision=version,
            streamed_from=length,
        )
        _rewrite(
            conversation_id, row.position, _encode(row.content), row.content_type, row.status,
            _encode_metadata(row.metadata), updated_at, version, length,
        )  # fmt: skip
        Event.record(conversation_id, version, MESSAGE, message_id)
        return row

    @classmethod
    @transaction
    def remove(cls, scope: Scope, conversation_id: str, message_id: str) -> None:
        """Raises ConversationNotFound, MessageNotFound."""
        conversation = Conversation.lock(scope, conversation_id)
        row = cls.stored(conversation_id, message_id)
        Stream.close(conversation_id, message_id)
        Event.forget(conversation_id, message_id)
        _delete(conversation_id, row.position)
        newest = _newest(conversation_id).fetchone()
        version = conversation.version + 1
        Conversation.advance(conversation, version, newest[0] if newest else None)
        Event.record(conversation_id, version, DELETED, message_id)

    @classmethod
    def stored(cls, conversation_id: str, message_id: str) -> MessageRow:
        """The row itself, without what has streamed in since. Raises MessageNotFound."""
        row = _by_id(conversation_id, message_id).fetchone()
        if row is None:
            raise MessageNotFound(message_id)
        return decode(row)


def _type_of(content: Content) -> str:
    return "text" if isinstance(content, str) else "parts"


def _encode(content: Content) -> str:
    return content if isinstance(content, str) else _json(content, "content")


def _encode_metadata(metadata: dict[str, Any] | None) -> str | None:
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


def decode(stored: tuple[Any, ...]) -> MessageRow:
    row = MessageRow._make(stored)
    if row.content_type == "parts":
        row = row._replace(content=json.loads(row.content))  # type: ignore[arg-type]
    if row.metadata is not None:
        row = row._replace(metadata=json.loads(row.metadata))  # type: ignore[arg-type]
    return row


COLUMNS = [getattr(Message, name) for name in MessageRow._fields]
_insert = insertion(Message, MessageRow._fields)


@prepared
def _by_id(conversation_id: Any, id: Any) -> Any:
    return Message.select(*COLUMNS).where(
        Message.conversation_id == conversation_id, Message.id == id
    )


@cache
def _all_of(count: int) -> prepared:
    def build(*conversation_ids: Any) -> Any:
        return (
            Message.select(*COLUMNS)
            .where(Message.conversation_id.in_(conversation_ids))
            .order_by(Message.conversation_id, Message.position)
        )

    return prepared(build, count)


@cache
def _page_query(upwards: bool) -> prepared:
    def build(conversation_id: Any, bound: Any, limit: Any) -> Any:
        compare = Message.position > bound if upwards else Message.position < bound
        order = Message.position.asc() if upwards else Message.position.desc()
        query = Message.select(*COLUMNS).where(Message.conversation_id == conversation_id, compare)
        return query.order_by(order).limit(limit)

    return prepared(build)


def _edge(conversation_id: str, upwards: bool, cursor: str | None) -> int:
    """The position that a page begins behind. Ids grow with positions, so a cursor whose message
    is gone still has its place: between its neighbours."""
    found = _beside(upwards)(conversation_id, cursor).fetchone() if cursor else None
    return found[0] if found else 0 if upwards else MAX_POSITION


@cache
def _beside(upwards: bool) -> prepared:
    def build(conversation_id: Any, id: Any) -> Any:
        compare = Message.id <= id if upwards else Message.id >= id
        order = Message.id.desc() if upwards else Message.id.asc()
        query = Message.select(Message.position)
        query = query.where(Message.conversation_id == conversation_id, compare)
        return query.order_by(order).limit(1)

    return prepared(build)


@prepared
def _newest(conversation_id: Any) -> Any:
    return (
        Message.select(Message.id)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.position.desc())
        .limit(1)
    )


@prepared
def _rewrite(
    conversation_id: Any, position: Any, content: Any, content_type: Any, status: Any,
    metadata: Any, updated_at: Any, revision: Any, streamed_from: Any,
) -> Any:  # fmt: skip
    return Message.update(
        content=content, content_type=content_type, status=status, metadata=metadata,
        updated_at=updated_at, revision=revision, streamed_from=streamed_from,
    ).where(Message.conversation_id == conversation_id, Message.position == position)  # fmt: skip


@prepared
def _delete(conversation_id: Any, position: Any) -> Any:
    return Message.delete().where(
        Message.conversation_id == conversation_id, Message.position == position
    )
