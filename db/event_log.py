"""The log of a conversation: one row for each change that a follower must still hear of.

`db.models` explains the numbers. Nothing is kept per piece of a finished stream: its pieces are
joined, and their text is in the message. Every verb here is called with the conversation's lock.
"""

from collections.abc import Sequence
from typing import Any

from .engine.prepared import insertion, prepared
from .models import CONVERSATION, DELTA, EVENT_COLUMNS, Event, EventRow


def record(event: EventRow) -> None:
    """Note a change of the conversation."""
    if event.kind == CONVERSATION:  # it tells the present title and flag: only the newest matters
        _delete_conversation_changes(event.conversation_id)
    _insert(*event)


def forget(conversation_id: str, message_id: str) -> None:
    """Drop what happened to a message, because something follows that says it all."""
    _delete_of_message(conversation_id, message_id)


def deltas(conversation_id: str, message_id: str) -> list[EventRow]:
    """The pieces of one message in order, with their text if its stream is open."""
    return [EventRow._make(row) for row in _deltas(conversation_id, message_id)]


def join_deltas(pieces: Sequence[EventRow]) -> None:
    """Make one row of each uninterrupted run of a message's pieces, without their text."""
    joined: list[EventRow] = []
    for piece in pieces:
        if joined and joined[-1].position == piece.position - piece.length:
            length = joined[-1].length + piece.length
            joined[-1] = joined[-1]._replace(position=piece.position, length=length)
        else:
            joined.append(piece._replace(text=None))
    if pieces:
        _delete_deltas(pieces[0].conversation_id, pieces[0].message_id)
    for row in joined:
        _insert(*row)


_insert = insertion(Event, EventRow._fields)


@prepared
def _deltas(conversation_id: Any, message_id: Any) -> Any:
    """The pieces of a message, oldest first."""
    return (
        Event.select(*EVENT_COLUMNS)
        .where(
            Event.conversation_id == conversation_id,
            Event.message_id == message_id,
            Event.kind == DELTA,
        )
        .order_by(Event.position)
    )


@prepared
def _delete_of_message(conversation_id: Any, message_id: Any) -> Any:
    """All that happened to a message."""
    return Event.delete().where(
        Event.conversation_id == conversation_id, Event.message_id == message_id
    )


@prepared
def _delete_deltas(conversation_id: Any, message_id: Any) -> Any:
    """The pieces of a message."""
    return Event.delete().where(
        Event.conversation_id == conversation_id,
        Event.message_id == message_id,
        Event.kind == DELTA,
    )


@prepared
def _delete_conversation_changes(conversation_id: Any) -> Any:
    """The earlier changes of the conversation's own fields."""
    return Event.delete().where(
        Event.conversation_id == conversation_id, Event.kind == CONVERSATION
    )
