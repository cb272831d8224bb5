"""Every table: its columns, keys and indexes, and the row that is read from it.

With `migrations/` this is the first file to read. The verbs stand in the module of their noun.

A conversation's `version` counts all that ever happened in it. A new message takes the next number
as its position. Every other change that a follower must hear of leaves a row in `event` under its
number. A streamed piece of n code points takes n numbers, so any number in its range says how much
of the text a reader has. The ETag and `Last-Event-ID` are this number.
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    CompositeKey,
    IntegerField,
    Model,
    TextField,
)

from .engine.database import database

# What belongs to a conversation is deleted with it. The constraint is written in SQL, since the key
# of `conversation` has two columns and Peewee's foreign keys have one.
IN_CONVERSATION = SQL(
    "FOREIGN KEY (conversation_id) REFERENCES conversation (id) ON DELETE CASCADE"
)

# A message's status.
IN_PROGRESS, COMPLETED, INCOMPLETE = "in_progress", "completed", "incomplete"

# An event's kind. A message that is new and unchanged has no row in `event`.
MESSAGE, DELTA, DONE, DELETED, CONVERSATION = "message", "delta", "done", "deleted", "conversation"

Content = str | list[Any]


class ConversationRow(NamedTuple):
    """A conversation as stored. Times are RFC 3339 text."""

    id: str
    project_id: str
    user_id: str | None
    title: str | None
    is_archived: bool  # 0 or 1 if it was read from SQLite
    created_at: str
    updated_at: str
    last_message_id: str | None
    version: int


class Conversation(Model):
    id = TextField(unique=True)
    project_id = TextField()
    user_id = TextField(null=True)
    title = TextField(null=True)
    is_archived = BooleanField()
    created_at = TextField()
    updated_at = TextField()
    last_message_id = TextField(null=True)
    version = BigIntegerField()

    class Meta:
        database = database
        # Clustered by project: a project's page is one run of neighbouring rows.
        primary_key = CompositeKey("project_id", "id")
        without_rowid = True


# Only conversations that have a user, or are archived, pay for these indexes.
Conversation.add_index(
    Conversation.index(
        Conversation.project_id,
        Conversation.user_id,
        Conversation.id,
        where=Conversation.user_id.is_null(False),
        name="conversation_of_user_in_project",
    )
)
Conversation.add_index(
    Conversation.index(
        Conversation.user_id,
        Conversation.id,
        where=Conversation.user_id.is_null(False),
        name="conversation_of_user",
    )
)
Conversation.add_index(
    Conversation.index(
        Conversation.project_id,
        Conversation.id,
        where=Conversation.is_archived,
        name="conversation_archived",
    )
)


class MessageRow(NamedTuple):
    """A message as read: its JSON is decoded, and a stream's text so far may be in `content`."""

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
    # The position of its last whole (re)write: its own until it is edited.
    revision: int
    # How many code points it had when its stream was opened. None if it never streamed.
    streamed_from: int | None

    @classmethod
    def decoded(cls, stored: Iterable[tuple[Any, ...]]) -> "list[MessageRow]":
        """The rows of `MESSAGE_COLUMNS`, which hold JSON as text."""
        return [
            row if row.metadata is None and row.content_type == "text" else cls._decoded(row)
            for row in map(_message_row, stored)
        ]

    @staticmethod
    def _decoded(row: Any) -> "MessageRow":
        if row.content_type == "parts":
            row = row._replace(content=json.loads(row.content))
        return row if row.metadata is None else row._replace(metadata=json.loads(row.metadata))


# `MessageRow._make` without its check of the length: 0.1 µs a row instead of 0.4.
_message_row: Callable[[tuple[Any, ...]], MessageRow] = partial(tuple.__new__, MessageRow)


class Message(Model):
    conversation_id = TextField()
    position = BigIntegerField()
    id = TextField()
    role = TextField()
    content = TextField()
    content_type = TextField()  # "text", or "parts" for a JSON list
    status = TextField()
    metadata = TextField(null=True)  # JSON
    created_at = TextField()
    updated_at = TextField()
    revision = BigIntegerField()
    streamed_from = IntegerField(null=True)

    class Meta:
        database = database
        # Clustered by conversation: reading one is one run of neighbouring rows. 100 conversations
        # of ten take 0.63 ms, and 6.5 ms cold at p99. A rowid table with a UUID key takes 2.13 and
        # 52 ms.
        primary_key = CompositeKey("conversation_id", "position")
        without_rowid = True
        constraints = [IN_CONVERSATION]
        # The id comes first: the newest ids lie on one page of the index, which all appends share.
        # With the conversation first, each append writes another page.
        indexes = ((("id", "conversation_id"), True),)


class EventRow(NamedTuple):
    """A change that a follower must hear of, under its number."""

    conversation_id: str
    position: int
    kind: str
    message_id: str | None = None
    # Of a delta: the numbers (position - length, position] stand for the code points
    # [offset, offset + length) of the message. `text` is there while the stream is open.
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


class StreamRow(NamedTuple):
    """A message that is being written."""

    conversation_id: str
    message_id: str
    length: int  # code points of the whole message
    updated_at: str  # when its writer was last heard of


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


class ApiKeyRow(NamedTuple):
    """An API key without the key itself, which is not stored."""

    id: str
    digest: str
    project_id: str | None  # None: all projects
    name: str | None
    created_at: str
    revoked_at: str | None


class ApiKey(Model):
    id = TextField(primary_key=True)
    # SHA-256. A key holds 256 random bits, so one round is enough: nobody can guess through it.
    digest = TextField(unique=True)
    project_id = TextField(null=True)
    name = TextField(null=True)
    created_at = TextField()
    revoked_at = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        without_rowid = True


class IdempotencyKey(Model):
    caller = TextField()  # the API key's id and the user, so that two callers' keys never meet
    key = TextField()
    fingerprint = TextField()  # of method, path and body
    created_at = TextField()
    # The response, as it is sent again. NULL inside the transaction that does the work, and where
    # there is a reference.
    status = IntegerField(null=True)
    headers = TextField(null=True)  # JSON
    body = TextField(null=True)
    # Instead of a response: JSON, the ids of what was stored, from which the response is made anew.
    reference = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        primary_key = CompositeKey("caller", "key")
        without_rowid = True
        indexes = ((("created_at",), False),)


# In the order in which they refer to each other.
MODELS: tuple[type[Model], ...] = (Conversation, Message, Event, Stream, ApiKey, IdempotencyKey)


def _columns(model: type[Model], row: type[Any]) -> list[Any]:
    """The columns of `model` in the order of the fields of `row`."""
    return [getattr(model, name) for name in row._fields]


CONVERSATION_COLUMNS = _columns(Conversation, ConversationRow)
MESSAGE_COLUMNS = _columns(Message, MessageRow)
EVENT_COLUMNS = _columns(Event, EventRow)
STREAM_COLUMNS = _columns(Stream, StreamRow)
API_KEY_COLUMNS = _columns(ApiKey, ApiKeyRow)
