"""Streams: which messages are being written right now, how long they are, who went silent.

A streaming message's row holds the text it was opened with; what came since lies in the pieces in
`Event`, and is written into the message once, at the end. So one append costs the same at the
start and after a megabyte.
"""

from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from peewee import CompositeKey, IntegerField, Model, TextField

from .clock import ago
from .database import IN_CONVERSATION, database, insertion, padded, prepared
from .event import DELTA, Event
from .settings import settings

IN_PROGRESS = "in_progress"
P = ParamSpec("P")
T = TypeVar("T")


class StreamRow(NamedTuple):
    conversation_id: str
    message_id: str
    length: int  # code points of the whole message
    updated_at: str  # the writer's last sign of life

    @property
    def is_silent(self) -> bool:
        return self.updated_at < ago(settings().stream_timeout)


# A row with a message's id, conversation_id, status, content and updated_at.
S = TypeVar("S", bound=Any)


class Stream(Model):
    conversation_id = TextField()
    message_id = TextField()
    length = IntegerField()
    updated_at = TextField()

    class Meta:
        database = database
        primary_key = CompositeKey("conversation_id", "message_id")
        without_rowid = True
        constraints = [IN_CONVERSATION]

    @classmethod
    def open(cls, conversation_id: str, message_id: str, length: int, updated_at: str) -> None:
        _insert(conversation_id, message_id, length, updated_at)

    @classmethod
    def find(cls, conversation_id: str, message_id: str) -> StreamRow | None:
        row = _by_id(conversation_id, message_id).fetchone()
        return StreamRow._make(row) if row else None

    @classmethod
    def all_in(cls, conversation_ids: Sequence[str]) -> list[StreamRow]:
        ids = padded(conversation_ids)
        return [StreamRow._make(row) for row in _all_in(len(ids))(*ids)]

    @classmethod
    def grow(cls, conversation_id: str, message_id: str, length: int, updated_at: str) -> None:
        _grow(conversation_id, message_id, length, updated_at)

    @classmethod
    def close(cls, conversation_id: str, message_id: str) -> None:
        """Nothing happens if it is not open."""
        _delete(conversation_id, message_id)

    @classmethod
    def overlay(cls, rows: list[S]) -> list[S]:
        """Put the text that has streamed in so far into those of `rows` that are in progress.

        Raises WriterGone if one of them should be finished first.
        """
        live = [row.conversation_id for row in rows if row.status == IN_PROGRESS]
        if not live:
            return rows
        ids = sorted(set(live))
        streams = {stream.message_id: stream for stream in cls.all_in(ids)}
        silent = {stream.conversation_id for stream in streams.values() if stream.is_silent}
        if silent:
            raise WriterGone(silent)
        texts: dict[str, list[str]] = {}
        for message_id, text in _live_text(len(padded(ids)))(*padded(ids)):
            texts.setdefault(message_id, []).append(text)
        return [
            row._replace(
                content=row.content + "".join(texts.get(row.id, ())),
                updated_at=streams[row.id].updated_at,
            )
            if row.status == IN_PROGRESS
            else row
            for row in rows
        ]


class WriterGone(Exception):
    """A writer in one of these conversations has been silent for too long. Never leaves `db`."""

    def __init__(self, conversation_ids: set[str]) -> None:
        self.conversation_ids = conversation_ids


def settling(verb: Callable[P, T]) -> Callable[P, T]:
    """Let `verb` find no message of a silent writer open: it is finished, and `verb` run again.

    There is no background job; whoever looks first finishes what a silent writer left.
    """

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        from .writer import finish_silent

        while True:
            try:
                return verb(*args, **kwargs)
            except WriterGone as gone:
                for conversation_id in gone.conversation_ids:
                    finish_silent(conversation_id)

    return run


def read_with_streams(verb: Callable[P, T]) -> Callable[P, T]:
    """Make `verb` read one state of the database, in which no silent writer's message is open."""

    @settling
    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with database.snapshot():
            return verb(*args, **kwargs)

    return run


_insert = insertion(Stream, StreamRow._fields)
COLUMNS = [getattr(Stream, name) for name in StreamRow._fields]


@prepared
def _by_id(conversation_id: Any, message_id: Any) -> Any:
    return Stream.select(*COLUMNS).where(
        Stream.conversation_id == conversation_id, Stream.message_id == message_id
    )


@cache
def _all_in(count: int) -> prepared:
    def build(*conversation_ids: Any) -> Any:
        return Stream.select(*COLUMNS).where(Stream.conversation_id.in_(conversation_ids))

    return prepared(build, count)


@cache
def _live_text(count: int) -> prepared:
    """The open streams' pieces in some conversations; joined ones have no text."""

    def build(*conversation_ids: Any) -> Any:
        return (
            Event.select(Event.message_id, Event.text)
            .where(
                Event.conversation_id.in_(conversation_ids),
                Event.kind == DELTA,
                Event.text.is_null(False),
            )
            .order_by(Event.conversation_id, Event.position)
        )

    return prepared(build, count)


@prepared
def _grow(conversation_id: Any, message_id: Any, length: Any, updated_at: Any) -> Any:
    return Stream.update(length=length, updated_at=updated_at).where(
        Stream.conversation_id == conversation_id, Stream.message_id == message_id
    )


@prepared
def _delete(conversation_id: Any, message_id: Any) -> Any:
    return Stream.delete().where(
        Stream.conversation_id == conversation_id, Stream.message_id == message_id
    )
