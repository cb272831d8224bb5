"""What a follower has to hear of besides new messages: one row for each change that still matters.

A conversation's `version` counts its changes. A new message takes the next number as its position;
every other change leaves a row here under its number. A piece of streamed text of n code points
takes n numbers, so that any number in its range says how much of the text a reader has: nothing
needs to be kept per piece, and the pieces are joined as soon as the stream is finished.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from peewee import BigIntegerField, CompositeKey, IntegerField, Model, TextField

from .database import IN_CONVERSATION, database, insertion, prepared

MESSAGE, DELTA, DONE, DELETED, CONVERSATION = "message", "delta", "done", "deleted", "conversation"


class EventRow(NamedTuple):
    conversation_id: str
    position: int
    kind: str
    message_id: str | None = None
    # Of a delta: the code points (position - length, position] of the numbers stand for the code
    # points [offset, offset + length) of the message. `text` is there while the stream is open.
    offset: int = 0
    length: int = 0
    text: str | None = None


class Event(Model):
    conversation_id = TextField()
    position = BigIntegerField()
    kind = TextField()
    message_id = TextField(null=True)
    offset = IntegerField()
    length = IntegerField()
    text = TextField(null=True)

    class Meta:
        database = database
        primary_key = CompositeKey("conversation_id", "position")
        without_rowid = True
        constraints = [IN_CONVERSATION]

    @classmethod
    def record(
        cls,
        conversation_id: str,
        position: int,
        kind: str,
        message_id: str | None = None,
        offset: int = 0,
        length: int = 0,
        text: str | None = None,
    ) -> None:
        """Note a change of the conversation; the caller holds its lock."""
        if kind == CONVERSATION:  # it shows the present title and flag: only the newest matters
            _forget_conversation_changes(conversation_id)
        _insert(conversation_id, position, kind, message_id, offset, length, text)

    @classmethod
    def forget(cls, conversation_id: str, message_id: str) -> None:
        """Drop what happened to a message, since something happened that says it all."""
        _forget_message(conversation_id, message_id)

    @classmethod
    def deltas(cls, conversation_id: str, message_id: str) -> list[EventRow]:
        """The pieces of one message in order, with their text if its stream is open."""
        return [EventRow._make(row) for row in _deltas(conversation_id, message_id)]

    @classmethod
    def join_deltas(cls, deltas: Sequence[EventRow]) -> None:
        """Make one row of each uninterrupted run, without the text, which the message has now."""
        joined: list[EventRow] = []
        for delta in deltas:
            if joined and joined[-1].position == delta.position - delta.length:
                length = joined[-1].length + delta.length
                joined[-1] = joined[-1]._replace(position=delta.position, length=length)
            else:
                joined.append(delta._replace(text=None))
        if deltas:
            _forget_deltas(deltas[0].conversation_id, deltas[0].message_id)
        for row in joined:
            _insert(*row)


COLUMNS = [getattr(Event, name) for name in EventRow._fields]
_insert = insertion(Event, EventRow._fields)


@prepared
def _deltas(conversation_id: Any, message_id: Any) -> Any:
    return (
        Event.select(*COLUMNS)
        .where(
            Event.conversation_id == conversation_id,
            Event.message_id == message_id,
            Event.kind == DELTA,
        )
        .order_by(Event.position)
    )


@prepared
def _forget_message(conversation_id: Any, message_id: Any) -> Any:
    return Event.delete().where(
        Event.conversation_id == conversation_id, Event.message_id == message_id
    )


@prepared
def _forget_deltas(conversation_id: Any, message_id: Any) -> Any:
    return Event.delete().where(
        Event.conversation_id == conversation_id,
        Event.message_id == message_id,
        Event.kind == DELTA,
    )


@prepared
def _forget_conversation_changes(conversation_id: Any) -> Any:
    return Event.delete().where(
        Event.conversation_id == conversation_id, Event.kind == CONVERSATION
    )
