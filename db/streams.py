"""Streams: messages that are being written. Append at an offset, finish, and outlive the writer.

The row of a streaming message holds the text that it was opened with. What came since lies in
pieces in the event log, and is written into the message once, at the end. So an append costs three
small rows, after a megabyte as at the start.

A writer that was silent for STREAM_TIMEOUT seconds is gone. There is no background job: whoever
meets its message first finishes it, by `settled`, in a transaction of its own.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from peewee import SQL, fn

from . import conversations, event_log
from .clock import age, ago
from .engine.database import transaction, transaction_time
from .engine.prepared import insertion, prepared, prepared_for_list
from .errors import (
    ConversationNotFound,
    MessageNotFound,
    OffsetConflict,
    StreamFinished,
    Unavailable,
)
from .models import (
    DELTA,
    DONE,
    IN_PROGRESS,
    INCOMPLETE,
    STREAM_COLUMNS,
    TEXT,
    Conversation,
    ConversationRow,
    Event,
    EventRow,
    Message,
    MessageRow,
    Stream,
    StreamRow,
)
from .scope import EVERYTHING, Scope
from .settings import settings

P = ParamSpec("P")
T = TypeVar("T")

MAX_TURNS = 10  # of a verb that finds one silent writer after the other


class StreamState(NamedTuple):
    """How far a message has been written. `length` is in code points."""

    id: str
    status: str
    length: int
    updated_at: str


# --- A silent writer: who finds one, and what happens then


class SilentWriter(Exception):
    """A writer in one of these conversations is gone. It is raised and caught in this module."""

    def __init__(self, conversation_ids: set[str]) -> None:
        self.conversation_ids = conversation_ids


def settled(verb: Callable[P, T]) -> Callable[P, T]:
    """Run `verb`, and again after finishing what it found that a silent writer left open.

    A verb finds it by `refuse_silent` or `overlay`, after it has checked the scope: so nobody
    writes by looking for somebody else's conversation. Each turn finishes what it found. If the
    rows are damaged it does not, and raises Unavailable.
    """

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(MAX_TURNS):
            try:
                return verb(*args, **kwargs)
            except SilentWriter as found:
                for conversation_id in found.conversation_ids:
                    finish_silent(conversation_id)
        raise Unavailable("what silent writers left open cannot be finished")

    return run


def refuse_silent(conversation_id: str) -> float | None:
    """The seconds until the next of this conversation's writers counts as gone. None without any.

    Raises SilentWriter if one is gone already. For verbs under `settled`.
    """
    silences = _refuse_silent(_open_streams([conversation_id]))
    return max(0, settings().stream_timeout - max(silences)) if silences else None


def _refuse_silent(streams: Iterable[StreamRow]) -> list[float]:
    """For how many seconds each of the writers has been silent. Raises SilentWriter."""
    silences = {stream: _silence(stream) for stream in streams}
    timeout = settings().stream_timeout
    silent = {stream.conversation_id for stream in silences if silences[stream] > timeout}
    if silent:
        raise SilentWriter(silent)
    return list(silences.values())


def _is_silent(stream: StreamRow) -> bool:
    return _silence(stream) > settings().stream_timeout


def _silence(stream: StreamRow) -> float:
    """The seconds for which its writer has not been heard of."""
    silence = age(stream.updated_at)
    if silence < -settings().stream_timeout:
        # The clock was set back since. The stream must not stay open until this time has come, and
        # its writer may be alive. So this process measures from when it first sees the row.
        silence = time.monotonic() - _first_seen(stream)
    return silence


@lru_cache(1024)
def _first_seen(stream: StreamRow) -> float:
    return time.monotonic()


@transaction
def finish_silent(conversation_id: str) -> None:
    """Make the messages of silent writers `incomplete`, with all that was stored of them."""
    with suppress(ConversationNotFound):  # it was deleted since
        conversation = conversations.lock(EVERYTHING, conversation_id)
        for stream in _open_streams([conversation_id]):
            if _is_silent(stream):
                conversation = _finish(conversation, stream, INCOMPLETE)


@transaction
def stop(scope: Scope, conversation_id: str, message_id: str | None = None) -> list[str]:
    """End what is being written in a conversation as `incomplete`, whoever writes it.

    It is all of it, or one message. The writers hear of it with their next piece: StreamFinished.
    Raises ConversationNotFound.
    """
    conversation = conversations.lock(scope, conversation_id)
    stopped = [
        stream
        for stream in _open_streams([conversation_id])
        if message_id in (None, stream.message_id)
    ]
    for stream in stopped:
        conversation = _finish(conversation, stream, INCOMPLETE)
    return [stream.message_id for stream in stopped]


def finish_some_silent(limit: int) -> None:
    """Finish a few messages of silent writers, so that those are told who do not look at them."""
    for (conversation_id,) in _some_silent(ago(settings().stream_timeout), limit).fetchall():
        finish_silent(conversation_id)


# --- Writing


def open_stream(conversation_id: str, message_id: str, length: int, updated_at: str) -> None:
    """Begin to write a message that has `length` code points. The caller holds the lock."""
    # The conversation's time is ahead of the clock if that was set back. The writer is there now.
    _insert(conversation_id, message_id, length, min(updated_at, transaction_time.get()))


def close_stream(conversation_id: str, message_id: str) -> None:
    """End it without joining its pieces. It need not be open. The caller holds the lock."""
    _delete(conversation_id, message_id)


@settled
@transaction
def append(
    scope: Scope,
    conversation_id: str,
    message_id: str,
    offset: int,
    delta: str,
    status: str | None = None,
) -> StreamState:
    """Append `delta` at `offset` code points. With a final `status`, finish the message.

    What is there already is a retry and changes nothing. An empty delta at the end says that the
    writer is alive. Raises ConversationNotFound, MessageNotFound, OffsetConflict, StreamFinished.
    """
    conversation = conversations.lock(scope, conversation_id)
    row = _by_id(conversation_id, message_id).fetchone()
    final_status = status if status != IN_PROGRESS else None
    if row is None:
        return _repeat_finished(conversation_id, message_id, offset, delta, final_status)
    stream = StreamRow._make(row)
    _refuse_silent([stream])
    end = offset + len(delta)
    if offset != stream.length:
        text = _text(stream, event_log.deltas(conversation_id, message_id))
        is_stored = end <= stream.length and text[offset:end] == delta
        if not is_stored or (final_status and end < stream.length):
            raise OffsetConflict(
                f"The message has {stream.length} code points: append at that offset.",
                length=stream.length,
            )
        if not final_status:
            return StreamState(message_id, IN_PROGRESS, stream.length, stream.updated_at)
        delta = ""
    version = conversation.version + (len(delta) or 1)  # a sign of life moves the times, too
    last_id = conversation.last_message_id
    is_news = bool(delta or final_status)
    conversation = conversations.advance(conversation, version, last_id, is_news, is_change=False)
    if delta:
        event_log.record(
            EventRow(conversation_id, version, DELTA, message_id, offset, len(delta), delta)
        )
    updated_at = conversation.updated_at
    _grow(conversation_id, message_id, end, transaction_time.get())
    if final_status:
        grown = stream._replace(length=end, updated_at=updated_at)
        _finish(conversation, grown, final_status)
    return StreamState(message_id, final_status or IN_PROGRESS, end, updated_at)


def _repeat_finished(
    conversation_id: str, message_id: str, offset: int, delta: str, final_status: str | None
) -> StreamState:
    """The answer to an append that comes too late. It is fine if it repeats what is there."""
    content, content_type, status, updated_at = _stored(conversation_id, message_id)
    text = content if content_type == TEXT else ""
    end = offset + len(delta)
    if end <= len(text) and text[offset:end] == delta and final_status in (None, status):
        return StreamState(message_id, status, len(text), updated_at)
    raise StreamFinished(
        f"The message is {status} at {len(text)} code points: nothing can be appended, "
        "unless it is reopened by setting its status to in_progress.",
        length=len(text),
        message_status=status,
    )


def _finish(conversation: ConversationRow, stream: StreamRow, status: str) -> ConversationRow:
    """End a stream: store its text in the message, join its pieces, tell its followers."""
    of_stream = (stream.conversation_id, stream.message_id)
    pieces = event_log.deltas(*of_stream)
    *_, opened_at = _stored(*of_stream)
    text, updated_at = _text(stream, pieces), max(opened_at, stream.updated_at)
    _store(*of_stream, text, status, updated_at)
    event_log.join_deltas(pieces)
    close_stream(*of_stream)
    version = conversation.version + 1
    event_log.record(EventRow(conversation.id, version, DONE, stream.message_id))
    return conversations.advance(conversation, version, conversation.last_message_id)


def _text(stream: StreamRow, pieces: Sequence[EventRow]) -> str:
    """The whole text of a message that is being written, and that has these pieces."""
    opened_with, *_ = _stored(stream.conversation_id, stream.message_id)
    return "".join([opened_with, *(piece.text or "" for piece in pieces)])


# --- Reading


def overlay(rows: list[MessageRow], settles: bool = True) -> list[MessageRow]:
    """Put the text that has streamed in so far into those of `rows` that are in progress.

    For verbs under `settled`: it raises SilentWriter if one of their writers is gone. Unless it
    `settles`, such a message reads `incomplete`, and stays as it is stored.
    """
    live = [row.conversation_id for row in rows if row.status == IN_PROGRESS]
    if not live:
        return rows
    ids = sorted(set(live))
    streams = {stream.message_id: stream for stream in _open_streams(ids)}
    if settles:
        _refuse_silent(streams.values())
    texts: dict[str, list[str]] = {}
    for message_id, text in _live_text(ids):
        texts.setdefault(message_id, []).append(text)
    return [
        row._replace(
            content="".join([str(row.content), *texts.get(row.id, ())]),
            updated_at=max(row.updated_at, streams[row.id].updated_at),
            status=INCOMPLETE if not settles and _is_silent(streams[row.id]) else IN_PROGRESS,
        )
        if row.status == IN_PROGRESS
        else row
        for row in rows
    ]


# --- Queries

_insert = insertion(Stream, StreamRow._fields)


@prepared
def _by_id(conversation_id: Any, message_id: Any) -> Any:
    """The open stream of a message."""
    return Stream.select(*STREAM_COLUMNS).where(
        Stream.conversation_id == conversation_id, Stream.message_id == message_id
    )


def _open_streams(conversation_ids: Sequence[str]) -> list[StreamRow]:
    return [StreamRow._make(row) for row in _all_in(conversation_ids)]


@prepared_for_list
def _all_in(conversation_ids: Any) -> Any:
    """The open streams of some conversations."""
    return Stream.select(*STREAM_COLUMNS).where(Stream.conversation_id.in_(conversation_ids))


@prepared
def _some_silent(silent_since: Any, limit: Any) -> Any:
    """The conversations of a few silent writers, without the trash.

    It looks at all open streams. They are few, and an index would cost each piece.
    """
    kept = Conversation.select(SQL("1")).where(
        Conversation.id == Stream.conversation_id, Conversation.deleted_at.is_null()
    )
    silent = (Stream.updated_at < silent_since) & fn.EXISTS(kept)
    return Stream.select(Stream.conversation_id).where(silent).limit(limit)


@prepared_for_list
def _live_text(conversation_ids: Any) -> Any:
    """The pieces of the open streams of some conversations. Joined pieces have no text."""
    return (
        Event.select(Event.message_id, Event.text)
        .where(
            Event.conversation_id.in_(conversation_ids),
            Event.kind == DELTA,
            Event.text.is_null(False),
        )
        .order_by(Event.conversation_id, Event.position)
    )


@prepared
def _grow(conversation_id: Any, message_id: Any, length: Any, updated_at: Any) -> Any:
    """How far the stream has come."""
    return Stream.update(length=length, updated_at=updated_at).where(
        Stream.conversation_id == conversation_id, Stream.message_id == message_id
    )


@prepared
def _delete(conversation_id: Any, message_id: Any) -> Any:
    """The stream of a message, without its pieces."""
    return Stream.delete().where(
        Stream.conversation_id == conversation_id, Stream.message_id == message_id
    )


def _stored(conversation_id: str, message_id: str) -> tuple[str, str, str, str]:
    """A message's own content, type of content, status and time. Raises MessageNotFound."""
    row = _message(conversation_id, message_id).fetchone()
    if row is None:
        raise MessageNotFound(message_id)
    content, content_type, status, updated_at = row
    return content, content_type, status, updated_at


@prepared
def _message(conversation_id: Any, id: Any) -> Any:
    """What a stream has to know of its message."""
    return Message.select(
        Message.content, Message.content_type, Message.status, Message.updated_at
    ).where(Message.conversation_id == conversation_id, Message.id == id)


@prepared
def _store(conversation_id: Any, id: Any, content: Any, status: Any, updated_at: Any) -> Any:
    """The text of a finished stream, in its message."""
    return Message.update(content=content, status=status, updated_at=updated_at).where(
        Message.conversation_id == conversation_id, Message.id == id
    )
