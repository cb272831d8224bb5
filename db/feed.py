"""The feed of a conversation: all that happened in it after a number, in order, each thing once."""

import time
from collections.abc import Iterator
from functools import cache
from heapq import merge
from operator import itemgetter
from typing import Any, NamedTuple

from .conversation import Conversation, ConversationRow
from .database import database, padded, prepared
from .event import COLUMNS as EVENT_COLUMNS
from .event import DELETED, DELTA, DONE, MESSAGE, Event, EventRow
from .message import COLUMNS, Message, MessageRow, decode
from .scope import Scope
from .stream import IN_PROGRESS, Stream, WriterGone, read_with_streams

# A reader that is cut off gets the event again that was cut. So no piece of text is long.
PIECE = 4096  # code points
BATCH = 200  # rows read at a time
POLL = 0.1  # seconds; other processes write, so a reader has to look: 0.05 % of a core
BUDGET = 1_000_000  # code points in one batch of events, or the one message that is longer


class FeedEvent(NamedTuple):
    """`position` is how far a reader is after it; `data` is a row or the fields of the event."""

    position: int
    kind: str
    data: Any


@read_with_streams
def events_after(scope: Scope, conversation_id: str, position: int) -> list[FeedEvent]:
    """What a reader that has seen all up to `position` has to see next; [] if nothing.

    A long feed comes in batches: ask again with the last position of this one. A position from
    the future (the database was restored from a backup) begins at the beginning.
    Raises ConversationNotFound.
    """
    conversation = Conversation.find(scope, conversation_id)
    if any(stream.is_silent for stream in Stream.all_in([conversation_id])):
        raise WriterGone({conversation_id})
    after = position if position <= conversation.version else 0
    while after < conversation.version:
        born = [decode(row) for row in _born(conversation_id, after, BATCH)]
        changes = [EventRow._make(row) for row in _changes(conversation_id, after, BATCH)]
        # Behind the end of a list that was cut, the other one would have gaps.
        cut = [rows[-1].position for rows in (born, changes) if len(rows) == BATCH]
        horizon = min(cut, default=conversation.version)
        events = _events(
            after,
            [row for row in born if row.position <= horizon],
            [row for row in changes if row.position <= horizon],
            conversation,
        )
        if batch := _within_budget(events):
            return batch
        after = horizon  # all of it has been superseded by something later
    return []


def follow(scope: Scope, conversation_id: str, position: int, wait: float = 0) -> list[FeedEvent]:
    """`events_after`, waiting up to `wait` seconds until there are some."""
    deadline = time.monotonic() + wait
    while True:
        events = events_after(scope, conversation_id, position)
        remaining = deadline - time.monotonic()
        if events or remaining <= 0:
            return events
        database.close()  # a sleeping reader holds no connection
        time.sleep(min(POLL, remaining))


def _events(
    after: int,
    born: list[MessageRow],
    changes: list[EventRow],
    conversation: ConversationRow,
) -> Iterator[FeedEvent]:
    messages = _messages(conversation.id, changes)
    births = (FeedEvent(row.position, MESSAGE, row) for row in born if row.revision == row.position)
    others = (FeedEvent(row.position, row.kind, row) for row in changes)
    run: list[Any] = []  # pieces of one message with nothing in between, told as one
    for position, kind, row in merge(births, others, key=itemgetter(0)):
        if run and (kind != DELTA or not _continues(run[-1], row)):
            yield from _deltas(after, run, messages)
            run = []
        if kind == DELTA:
            run.append(row)
        elif kind == MESSAGE:
            message = row if isinstance(row, MessageRow) else messages[row.message_id]
            yield FeedEvent(position, MESSAGE, _as_opened(message))
        elif kind == DONE:
            message = messages[row.message_id]
            data = {"message_id": message.id, "status": message.status}
            yield FeedEvent(position, DONE, {**data, "length": len(message.content)})
        elif kind == DELETED:
            yield FeedEvent(position, DELETED, {"message_id": row.message_id})
        else:
            yield FeedEvent(position, kind, conversation)
    if run:
        yield from _deltas(after, run, messages)


def _as_opened(message: MessageRow) -> MessageRow:
    """A message that streamed, as it was before: the pieces follow, and `done`."""
    if message.streamed_from is None:
        return message
    return message._replace(content=message.content[: message.streamed_from], status=IN_PROGRESS)


def _continues(before: EventRow, row: EventRow) -> bool:
    return row.message_id == before.message_id and row.position - row.length == before.position


def _deltas(after: int, run: list[Any], messages: dict[str, MessageRow]) -> Iterator[FeedEvent]:
    """The unseen text of a run, in pieces whose positions say how far into it a reader is."""
    first = run[0]
    begin = first.position - first.length
    text = "".join(
        str(messages[row.message_id].content)[row.offset : row.offset + row.length]
        if row.text is None
        else row.text
        for row in run
    )
    for start in range(max(0, after - begin), len(text), PIECE):
        piece = text[start : start + PIECE]
        yield FeedEvent(
            begin + start + len(piece),
            DELTA,
            {"message_id": first.message_id, "offset": first.offset + start, "delta": piece},
        )


def _within_budget(events: Iterator[FeedEvent]) -> list[FeedEvent]:
    batch: list[FeedEvent] = []
    spent = 0
    for event in events:
        spent += _size(event)
        if batch and spent > BUDGET:
            break
        batch.append(event)
    return batch


def _size(event: FeedEvent) -> int:
    """About how many code points it has as JSON."""
    if event.kind == MESSAGE:
        return len(str(event.data.content)) + len(str(event.data.metadata))
    return len(event.data["delta"]) if event.kind == DELTA else 0


def _messages(conversation_id: str, changes: list[Any]) -> dict[str, MessageRow]:
    """The stored rows of the messages that `changes` speak of."""
    ids = padded(sorted({row.message_id for row in changes if row.kind in (MESSAGE, DELTA, DONE)}))
    found = _some(len(ids))(conversation_id, *ids) if ids else ()
    return {row.id: row for row in map(decode, found)}


@prepared
def _born(conversation_id: Any, after: Any, limit: Any) -> Any:
    return (
        Message.select(*COLUMNS)
        .where(Message.conversation_id == conversation_id, Message.position > after)
        .order_by(Message.position)
        .limit(limit)
    )


@prepared
def _changes(conversation_id: Any, after: Any, limit: Any) -> Any:
    return (
        Event.select(*EVENT_COLUMNS)
        .where(Event.conversation_id == conversation_id, Event.position > after)
        .order_by(Event.position)
        .limit(limit)
    )


@cache
def _some(count: int) -> prepared:
    def build(conversation_id: Any, *ids: Any) -> Any:
        return Message.select(*COLUMNS).where(
            Message.conversation_id == conversation_id, Message.id.in_(ids)
        )

    return prepared(build, 1 + count)
