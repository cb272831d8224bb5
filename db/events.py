"""The events of a conversation: all that happened after a number, in order, each thing once."""

from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from typing import Any, NamedTuple

from . import conversations, streams
from .branches import LINKED_COLUMNS
from .engine.database import snapshot
from .engine.prepared import prepared, prepared_for_list
from .models import (
    DELETED,
    DELTA,
    DONE,
    EVENT_COLUMNS,
    IN_PROGRESS,
    MESSAGE,
    ConversationRow,
    Event,
    EventRow,
    Message,
    MessageRow,
)
from .scope import Scope
from .streams import settled

# A reader that is cut off gets the event again that was cut. So no piece of text is long.
PIECE_CODE_POINTS = 4096
BATCH_ROWS = 200  # rows read at a time
BATCH_CODE_POINTS = 1_000_000  # in the events of one batch, or in one message that is longer


_CONTENT = MessageRow._fields.index("content")


class ConversationEvent(NamedTuple):
    """One event. `position` is how far a reader is after it.

    `data` is a MessageRow, a ConversationRow, or the fields of the event as a dict.
    """

    position: int
    kind: str
    data: Any


class Look(NamedTuple):
    """What a reader finds when it looks: the next events, [] if there are none."""

    events: list[ConversationEvent]
    version: int  # of the conversation
    silence: float | None  # seconds until one of its writers counts as gone, if it has any


@settled
@snapshot
def look(scope: Scope, conversation_id: str, position: int) -> Look:
    """What a reader that has seen all up to `position` has to see next.

    Many events come in batches: ask again with the last position of this one. A position from the
    future means that the database was restored from a backup, so the reader begins anew.
    Raises ConversationNotFound.
    """
    conversation = conversations.find(scope, conversation_id)
    silence = streams.refuse_silent(conversation_id)
    return Look(_after(conversation, position), conversation.version, silence)


def after(scope: Scope, conversation_id: str, position: int) -> list[ConversationEvent]:
    """The events of one look."""
    return look(scope, conversation_id, position).events


def _after(conversation: ConversationRow, position: int) -> list[ConversationEvent]:
    seen = position if position <= conversation.version else 0
    while seen < conversation.version:
        born, has_more = _first_of(_born(conversation.id, seen, BATCH_ROWS))
        changes = [EventRow._make(row) for row in _changes(conversation.id, seen, BATCH_ROWS)]
        # Behind the end of a list that was cut, the other one would have gaps.
        lists = ((born, has_more), (changes, len(changes) == BATCH_ROWS))
        cut = [rows[-1].position for rows, is_cut in lists if is_cut]
        horizon = min(cut, default=conversation.version)
        events = _events(
            seen,
            [row for row in born if row.position <= horizon],
            [row for row in changes if row.position <= horizon],
            conversation,
        )
        if batch := _within_budget(events):
            return batch
        seen = horizon  # something later superseded all of it
    return []


def _first_of(found: Any) -> tuple[list[MessageRow], bool]:
    """As many rows as fill a batch, and whether there may be more. The others are not read."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in found:
        rows.append(row)
        size += len(row[_CONTENT])
        if size > BATCH_CODE_POINTS:
            found.close()
            return MessageRow.decoded(rows), True
    return MessageRow.decoded(rows), len(rows) == BATCH_ROWS


def _events(
    seen: int,
    born: list[MessageRow],
    changes: list[EventRow],
    conversation: ConversationRow,
) -> Iterator[ConversationEvent]:
    """New messages and changes as events, in the order of their numbers."""
    messages = _messages(conversation.id, changes)
    births = (
        ConversationEvent(row.position, MESSAGE, row)
        for row in born
        if row.revision == row.position
    )
    others = (ConversationEvent(row.position, row.kind, row) for row in changes)
    run: list[Any] = []  # pieces of one message with nothing in between, told as one
    for position, kind, row in merge(births, others, key=itemgetter(0)):
        if run and (kind != DELTA or not _continues(run[-1], row)):
            yield from _deltas(seen, run, messages)
            run = []
        if kind == DELTA:
            run.append(row)
        elif kind == MESSAGE:
            message = row if isinstance(row, MessageRow) else messages[row.message_id]
            yield ConversationEvent(position, MESSAGE, _as_opened(message))
        elif kind == DONE:
            message = messages[row.message_id]
            data = {"message_id": message.id, "status": message.status}
            yield ConversationEvent(position, DONE, {**data, "length": len(message.content)})
        elif kind == DELETED:
            data = {"message_id": row.message_id, "parent_id": row.parent_id}
            yield ConversationEvent(position, DELETED, data)
        else:
            yield ConversationEvent(position, kind, conversation)
    if run:
        yield from _deltas(seen, run, messages)


def _as_opened(message: MessageRow) -> MessageRow:
    """A message that streamed, as it was before: its pieces follow, and `done`."""
    if message.streamed_from is None:
        return message
    return message._replace(content=message.content[: message.streamed_from], status=IN_PROGRESS)


def _continues(before: EventRow, row: EventRow) -> bool:
    return row.message_id == before.message_id and row.position - row.length == before.position


def _deltas(
    seen: int, run: list[Any], messages: dict[str, MessageRow]
) -> Iterator[ConversationEvent]:
    """The unseen text of a run, in pieces whose positions say how far into it a reader is."""
    first = run[0]
    begin = first.position - first.length
    text = "".join(
        str(messages[row.message_id].content)[row.offset : row.offset + row.length]
        if row.text is None
        else row.text
        for row in run
    )
    for start in range(max(0, seen - begin), len(text), PIECE_CODE_POINTS):
        piece = text[start : start + PIECE_CODE_POINTS]
        yield ConversationEvent(
            begin + start + len(piece),
            DELTA,
            {"message_id": first.message_id, "offset": first.offset + start, "delta": piece},
        )


def _within_budget(events: Iterator[ConversationEvent]) -> list[ConversationEvent]:
    """As many of the first events as a batch may hold, and at least one."""
    batch: list[ConversationEvent] = []
    spent = 0
    for event in events:
        spent += _size(event)
        if batch and spent > BATCH_CODE_POINTS:
            break
        batch.append(event)
    return batch


def _size(event: ConversationEvent) -> int:
    """About how many code points the event has as JSON."""
    if event.kind == MESSAGE:
        return len(str(event.data.content)) + len(str(event.data.metadata))
    return len(event.data["delta"]) if event.kind == DELTA else 0


def _messages(conversation_id: str, changes: list[Any]) -> dict[str, MessageRow]:
    """The stored rows of the messages that `changes` speak of."""
    ids = sorted({row.message_id for row in changes if row.kind in (MESSAGE, DELTA, DONE)})
    rows = MessageRow.decoded(_some(conversation_id, ids)) if ids else []
    return {row.id: row for row in rows}


@prepared
def _born(conversation_id: Any, seen: Any, limit: Any) -> Any:
    """The messages that were appended after a number."""
    return (
        Message.select(*LINKED_COLUMNS)
        .where(Message.conversation_id == conversation_id, Message.position > seen)
        .order_by(Message.position)
        .limit(limit)
    )


@prepared
def _changes(conversation_id: Any, seen: Any, limit: Any) -> Any:
    """What else happened after a number."""
    return (
        Event.select(*EVENT_COLUMNS)
        .where(Event.conversation_id == conversation_id, Event.position > seen)
        .order_by(Event.position)
        .limit(limit)
    )


@prepared_for_list
def _some(conversation_id: Any, ids: Any) -> Any:
    """Some messages of a conversation."""
    return Message.select(*LINKED_COLUMNS).where(
        Message.conversation_id == conversation_id, Message.id.in_(ids)
    )
