"""The writer's side of a stream: append at an offset, finish; and finish for those who went silent.

An append costs three small rows, whatever the length of the text, and is safe to repeat.
"""

from contextlib import suppress
from typing import Any, NamedTuple

from .conversation import Conversation, ConversationRow
from .database import prepared, transaction
from .errors import ConversationNotFound, OffsetConflict, StreamFinished
from .event import DELTA, DONE, Event
from .message import Message
from .scope import EVERYTHING, Scope
from .stream import IN_PROGRESS, Stream, StreamRow, WriterGone, settling

INCOMPLETE = "incomplete"


class Progress(NamedTuple):
    """How far a message that is being written has come; `length` in code points."""

    id: str
    status: str
    length: int
    updated_at: str


@settling
@transaction
def append(
    scope: Scope,
    conversation_id: str,
    message_id: str,
    offset: int,
    delta: str,
    status: str | None = None,
) -> Progress:
    """Append `delta` to a message in progress, at `offset` code points; with a final `status`,
    finish it. What is there already is a retry and changes nothing. An empty delta at the end is
    a sign of life.

    Raises ConversationNotFound, MessageNotFound, OffsetConflict, StreamFinished.
    """
    conversation = Conversation.lock(scope, conversation_id)
    stream = Stream.find(conversation_id, message_id)
    final = status if status != IN_PROGRESS else None
    if stream is None:
        return _repeat_finished(conversation_id, message_id, offset, delta, final)
    if stream.is_silent:
        raise WriterGone({conversation_id})
    end = offset + len(delta)
    if offset != stream.length:
        stored = end <= stream.length and _text(stream)[offset:end] == delta
        if not stored or (final and end < stream.length):
            raise OffsetConflict(
                f"The message has {stream.length} code points: append at that offset.",
                length=stream.length,
            )
        if not final:
            return Progress(message_id, IN_PROGRESS, stream.length, stream.updated_at)
        delta = ""
    version = conversation.version + (len(delta) or 1)  # a sign of life moves the times
    updated_at = Conversation.advance(conversation, version, conversation.last_message_id)
    if delta:
        Event.record(conversation_id, version, DELTA, message_id, offset, len(delta), delta)
    Stream.grow(conversation_id, message_id, end, updated_at)
    if final:
        grown = StreamRow(conversation_id, message_id, end, updated_at)
        _finish(conversation._replace(version=version), grown, final)
    return Progress(message_id, final or IN_PROGRESS, end, updated_at)


@transaction
def finish_silent(conversation_id: str) -> None:
    """Make the messages of writers that went silent `incomplete`, with what was stored."""
    with suppress(ConversationNotFound):  # deleted since it was seen
        conversation = Conversation.lock(EVERYTHING, conversation_id)
        for stream in Stream.all_in([conversation_id]):
            if stream.is_silent:
                conversation = _finish(conversation, stream, INCOMPLETE)


def _repeat_finished(
    conversation_id: str, message_id: str, offset: int, delta: str, final: str | None
) -> Progress:
    """The answer to an append that comes too late: fine if it repeats what is there."""
    row = Message.stored(conversation_id, message_id)
    text = row.content if isinstance(row.content, str) else ""
    end = offset + len(delta)
    if end <= len(text) and text[offset:end] == delta and final in (None, row.status):
        return Progress(message_id, row.status, len(text), row.updated_at)
    raise StreamFinished(
        f"The message is {row.status} at {len(text)} code points: nothing can be appended, "
        "unless it is reopened by setting its status to in_progress.",
        length=len(text),
        message_status=row.status,
    )


def _finish(conversation: ConversationRow, stream: StreamRow, status: str) -> ConversationRow:
    """End a stream: its text into the message, its pieces joined, its followers told."""
    of_stream = (stream.conversation_id, stream.message_id)
    _store(*of_stream, _text(stream), status, stream.updated_at)
    Event.join_deltas(Event.deltas(*of_stream))
    Stream.close(*of_stream)
    version = conversation.version + 1
    Event.record(conversation.id, version, DONE, stream.message_id)
    Conversation.advance(conversation, version, conversation.last_message_id)
    return conversation._replace(version=version)


def _text(stream: StreamRow) -> str:
    """The whole text of a message that is being streamed."""
    opened_with = Message.stored(stream.conversation_id, stream.message_id).content
    pieces = [delta.text or "" for delta in Event.deltas(stream.conversation_id, stream.message_id)]
    return "".join([str(opened_with), *pieces])


@prepared
def _store(conversation_id: Any, id: Any, content: Any, status: Any, updated_at: Any) -> Any:
    return Message.update(content=content, status=status, updated_at=updated_at).where(
        Message.conversation_id == conversation_id, Message.id == id
    )
