"""Every table: its columns, keys and indexes, and the row that is read from it.

With `migrations/` this is the first file to read. The verbs stand in the module of their noun.

Messages form a tree, and most trees are a single line. A message follows the one before it, by
position, unless its `parent` names another position, or 0 for a root. So a line stores nothing for
its order, and a branch one number where it begins. A parent is always older than its children.

A conversation's `version` counts all that ever happened in it. A new message takes the next number
as its position. Every other change that a follower must hear of leaves a row in `event` under its
number. A streamed piece of n code points takes n numbers, so any number in its range says how much
of the text a reader has. The ETag and `Last-Event-ID` are this number.
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
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

# How a message's content is stored.
TEXT, PARTS, ITEM = "text", "parts", "item"

# A message's status.
IN_PROGRESS, COMPLETED, INCOMPLETE = "in_progress", "completed", "incomplete"

# An event's kind. A message that is new and unchanged has no row in `event`.
MESSAGE, DELTA, DONE, DELETED, CONVERSATION = "message", "delta", "done", "deleted", "conversation"


class Item(list[Any]):
    """The content of a message that is no one's words but a single thing, such as a call of a tool.

    It is a list of this one thing. Who reads parts finds a message of one part; who knows items
    finds the thing in the place of a message.
    """


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
    last_message_id: str | None  # of the active branch
    version: int
    key: str | None
    is_pinned: bool
    is_held: bool
    tags: list[str] | None
    metadata: dict[str, Any] | None
    # A UUIDv7 that was made when the newest message was appended, or the conversation made. So it
    # is a moment, and also a place in a list that no other conversation has.
    activity: str
    # Whether its messages ever were more than a line that ends with the active leaf.
    is_branched: bool

    @classmethod
    def decoded(cls, stored: Iterable[Any]) -> "ConversationRow":
        """The row of `CONVERSATION_COLUMNS`, which hold JSON as text."""
        row = _conversation_row(stored)
        if row.tags is None and row.metadata is None:
            return row
        return row._replace(tags=_value_of(row.tags), metadata=_value_of(row.metadata))

    @property
    def encoded(self) -> tuple[Any, ...]:
        """The values of `CONVERSATION_COLUMNS`."""
        if self.tags is None and self.metadata is None:
            return self
        return self._replace(tags=json_of(self.tags), metadata=json_of(self.metadata))


# `ConversationRow._make` without its check of the length: 0.1 µs a row instead of 0.4.
_conversation_row: Callable[[Iterable[Any]], ConversationRow] = partial(
    tuple.__new__, ConversationRow
)


def json_of(value: Any) -> Any:
    """A value as JSON text, as short as it can be. None for None. Raises ValueError for NaN."""
    return None if value is None else _encode(value)


# `json.dumps` would make an encoder for each value: 2 µs of 6.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _value_of(text: Any) -> Any:
    return None if text is None else json.loads(text)


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
    # A column that was added later has a default, which SQLite demands.
    key = TextField(null=True)
    is_pinned = BooleanField(constraints=[SQL("DEFAULT FALSE")])
    is_held = BooleanField(constraints=[SQL("DEFAULT FALSE")])
    tags = TextField(null=True)  # JSON
    metadata = TextField(null=True)  # JSON
    activity = TextField(constraints=[SQL("DEFAULT ''")])
    is_branched = BooleanField(constraints=[SQL("DEFAULT FALSE")])
    # When it was put into the trash. Then no verb finds it but those of `trash`.
    deleted_at = TextField(null=True)
    # The number of its last change that the feed tells: see `changes`.
    changed = BigIntegerField(constraints=[SQL("DEFAULT 0")])
    # Up to this version the search index has it, or up to the present one: see `search_index`.
    indexed_version = BigIntegerField(constraints=[SQL("DEFAULT 0")])

    class Meta:
        database = database
        # Clustered by project: a project's page is one run of neighbouring rows.
        primary_key = CompositeKey("project_id", "id")
        without_rowid = True


# A list is of one project or all, by age or activity, with or without what is archived or pinned.
# The two flags come before the order: so each list is one to four runs of an index, whatever the
# share of what it leaves out. `lists` merges the runs. By activity there is none of all projects,
# since each append would write one more page for it.
# What is in the trash is in none of these indexes.
FLAGS = (Conversation.is_archived, Conversation.is_pinned)
FLAG_PAIRS = [*product((False, True), repeat=2)]
IS_KEPT = Conversation.deleted_at.is_null()
_HAS_USER = Conversation.user_id.is_null(False)
for _name, *_columns_of_index in (
    ("conversation_by_age", Conversation.project_id, *FLAGS, Conversation.id),
    ("conversation_of_all_by_age", *FLAGS, Conversation.id),
    ("conversation_by_activity", Conversation.project_id, *FLAGS, Conversation.activity),
):
    Conversation.add_index(Conversation.index(*_columns_of_index, where=IS_KEPT, name=_name))
# Only conversations that have a user pay for these indexes. They begin with the user, so that they
# also tell in which projects a user is. By age a user's list is read with all flags.
for _name, *_columns_of_index in (
    ("conversation_of_user_in_project", Conversation.project_id, Conversation.id),
    ("conversation_of_user", Conversation.id),
    (
        "conversation_of_user_in_project_by_activity",
        *(Conversation.project_id, *FLAGS, Conversation.activity),
    ),
):
    Conversation.add_index(
        Conversation.index(
            Conversation.user_id, *_columns_of_index, where=_HAS_USER & IS_KEPT, name=_name
        )
    )
# A key is unique among the conversations of a user, or of nobody. No user has the empty name. It
# comes first, so that it is also found among those of all users and projects.
Conversation.add_index(
    Conversation.index(
        Conversation.key,
        Conversation.project_id,
        SQL("COALESCE(\"user_id\", '')"),
        where=Conversation.key.is_null(False) & IS_KEPT,
        unique=True,
        name="conversation_key",
    )
)
# The trash, the latest deleted first: of all, of a project, and of a user.
_IN_TRASH = (Conversation.deleted_at, Conversation.id)
for _name, _where, *_columns_of_index in (
    ("conversation_in_trash", ~IS_KEPT, Conversation.project_id, *_IN_TRASH),
    ("conversation_of_all_in_trash", ~IS_KEPT, *_IN_TRASH),
    (
        "conversation_of_user_in_trash",
        _HAS_USER & ~IS_KEPT,
        *(Conversation.user_id, Conversation.project_id, *_IN_TRASH),
    ),
    (
        "conversation_of_user_in_all_trash",
        _HAS_USER & ~IS_KEPT,
        *(Conversation.user_id, *_IN_TRASH),
    ),
):
    Conversation.add_index(Conversation.index(*_columns_of_index, where=_where, name=_name))
# The feed of changes. One index serves all scopes: with one for each, an append would write two
# pages more. A reader passes over the changes of others since it looked, 0.1 µs each.
Conversation.add_index(
    Conversation.index(
        *(Conversation.changed, Conversation.id, Conversation.project_id, Conversation.user_id),
        name="conversation_changed",
    )
)


class Tombstone(Model):
    id = TextField(primary_key=True)
    project_id = TextField()
    user_id = TextField(null=True)
    deleted_at = TextField()
    changed = BigIntegerField()

    class Meta:
        database = database
        without_rowid = True


Tombstone.add_index(
    Tombstone.index(
        *(Tombstone.changed, Tombstone.id, Tombstone.project_id, Tombstone.user_id),
        name="tombstone_changed",
    )
)
Tombstone.add_index(Tombstone.index(Tombstone.deleted_at, name="tombstone_deleted"))


class Tag(Model):
    """One tag of one conversation, with what a list by tag has to know of the conversation."""

    conversation_id = TextField()
    name = TextField()
    project_id = TextField()
    is_archived = BooleanField()
    is_pinned = BooleanField()
    activity = TextField()

    class Meta:
        database = database
        primary_key = CompositeKey("conversation_id", "name")
        without_rowid = True
        constraints = [IN_CONVERSATION]


for _name, *_columns_of_index in (
    ("tag_by_age", Tag.project_id, Tag.name, Tag.is_archived, Tag.is_pinned, Tag.conversation_id),
    ("tag_of_all_by_age", Tag.name, Tag.is_archived, Tag.is_pinned, Tag.conversation_id),
    ("tag_by_activity", Tag.project_id, Tag.name, Tag.is_archived, Tag.is_pinned, Tag.activity),
):
    Tag.add_index(Tag.index(*_columns_of_index, name=_name))


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
    client_id: str | None
    parent: int | None  # as stored: see the head of this module
    parent_id: str | None  # None for a root. It is no column

    @classmethod
    def decoded(cls, stored: Iterable[tuple[Any, ...]]) -> "list[MessageRow]":
        """The rows of `MESSAGE_COLUMNS` with the parent's id, where JSON is text."""
        return [
            row if row.metadata is None and row.content_type == TEXT else cls._decoded(row)
            for row in map(_message_row, stored)
        ]

    @classmethod
    def on_path(
        cls, stored: Iterable[tuple[Any, ...]], parent_id: str | None = None
    ) -> "list[MessageRow]":
        """The same for rows of `MESSAGE_COLUMNS` alone that follow each other, oldest first.

        The first one follows `parent_id`.
        """
        rows = []
        for stored_row in stored:
            row = _message_row(stored_row + (parent_id,))  # noqa: RUF005 - it is faster
            if row[_METADATA] is not None or row[_CONTENT_TYPE] != TEXT:
                row = cls._decoded(row)
            rows.append(row)
            parent_id = row[0]
        return rows

    @staticmethod
    def _decoded(row: Any) -> "MessageRow":
        row = row._replace(content=decode_content(row.content, row.content_type))
        return row if row.metadata is None else row._replace(metadata=json.loads(row.metadata))


def decode_content(stored: str, content_type: str) -> Content:
    """A message's content, which is stored as text."""
    if content_type == TEXT:
        return stored
    return Item(json.loads(stored)) if content_type == ITEM else json.loads(stored)


def type_of(content: Content) -> str:
    """How a message's content is stored."""
    if isinstance(content, str):
        return TEXT
    return ITEM if isinstance(content, Item) else PARTS


# `MessageRow._make` without its check of the length: 0.1 µs a row instead of 0.4.
_message_row: Callable[[tuple[Any, ...]], MessageRow] = partial(tuple.__new__, MessageRow)
_METADATA, _CONTENT_TYPE = map(MessageRow._fields.index, ("metadata", "content_type"))


class Message(Model):
    conversation_id = TextField()
    position = BigIntegerField()
    id = TextField()
    role = TextField()
    content = TextField()
    content_type = TextField()  # TEXT, or a JSON list: PARTS, ITEM
    status = TextField()
    metadata = TextField(null=True)  # JSON
    created_at = TextField()
    updated_at = TextField()
    revision = BigIntegerField()
    streamed_from = IntegerField(null=True)
    client_id = TextField(null=True)
    parent = BigIntegerField(null=True)

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


# Where branches begin. A line has nothing in it.
Message.add_index(
    Message.index(
        Message.conversation_id,
        Message.position,
        Message.parent,
        where=Message.parent.is_null(False),
        name="message_branch",
    )
)


class ClientIdRow(NamedTuple):
    """A client's own name for a message, which it keeps when the message is deleted."""

    conversation_id: str
    client_id: str
    message_id: str
    digest: str  # of the role and the content that were sent
    parent_id: str | None  # that was sent; "" for a root, None if none was sent


class ClientId(Model):
    conversation_id = TextField()
    client_id = TextField()
    message_id = TextField()
    digest = TextField()
    parent_id = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        primary_key = CompositeKey("conversation_id", "client_id")
        without_rowid = True
        constraints = [IN_CONVERSATION]


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
    parent_id: str | None = None  # of a deleted message: its children's new parent


class Event(Model):
    conversation_id = TextField()
    position = BigIntegerField()
    kind = TextField()
    message_id = TextField(null=True)
    offset = IntegerField()
    length = IntegerField()
    text = TextField(null=True)
    parent_id = TextField(null=True)

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


class ImportedRow(NamedTuple):
    """Which conversation was made of a conversation of an export, and how that was then."""

    project_id: str
    user_id: str  # "" for none
    source: str  # the export's format and its own id, such as `chatgpt:6745…`
    conversation_id: str
    sha256: str  # of its JSON as it stood in the file


class Imported(Model):
    """It stays when its conversation is purged, so that what was deleted is not imported again."""

    project_id = TextField()
    user_id = TextField()
    source = TextField()
    conversation_id = TextField()
    sha256 = TextField()

    class Meta:
        database = database
        primary_key = CompositeKey("project_id", "user_id", "source")
        without_rowid = True


class ApiKeyRow(NamedTuple):
    """An API key without the key itself, which is not stored."""

    id: str
    digest: str
    project_id: str | None  # None: all projects
    name: str | None
    created_at: str
    revoked_at: str | None
    is_read_only: bool = False
    expires_at: str | None = None
    used_at: str | None = None  # rather exact: see `api_keys`


class ApiKey(Model):
    id = TextField(primary_key=True)
    # SHA-256. A key holds 256 random bits, so one round is enough: nobody can guess through it.
    digest = TextField(unique=True)
    project_id = TextField(null=True)
    name = TextField(null=True)
    created_at = TextField()
    revoked_at = TextField(null=True)
    is_read_only = BooleanField(constraints=[SQL("DEFAULT FALSE")])
    expires_at = TextField(null=True)
    used_at = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        without_rowid = True


class KeptAnswerRow(NamedTuple):
    """An answer that belongs to no conversation, with what was said before it."""

    id: str
    project_id: str
    user_id: str | None
    created_at: str
    messages: str  # JSON


class KeptAnswer(Model):
    id = TextField(primary_key=True)
    project_id = TextField()
    user_id = TextField(null=True)
    created_at = TextField()
    messages = TextField()

    class Meta:
        database = database
        legacy_table_names = False
        without_rowid = True
        indexes = ((("user_id",), False), (("created_at",), False))


class UserTokenRow(NamedTuple):
    """A user's token without the token itself, which is not stored."""

    id: str
    digest: str
    key_id: str | None  # that it was made with; None: by the command line
    project_id: str | None  # None: all projects
    user_id: str
    created_at: str
    expires_at: str
    used_at: str | None


class UserToken(Model):
    id = TextField(primary_key=True)
    digest = TextField(unique=True)  # as a key's
    key_id = TextField(null=True)
    project_id = TextField(null=True)
    user_id = TextField()
    created_at = TextField()
    expires_at = TextField()
    used_at = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        without_rowid = True
        indexes = ((("user_id",), False), (("expires_at",), False))


class IdempotencyKey(Model):
    caller = TextField()  # the API key's id and the user, so that two callers' keys never meet
    key = TextField()
    fingerprint = TextField()  # of method, path and body
    created_at = TextField()
    # The response, as it is sent again. NULL inside the transaction that does the work, and where
    # it is made anew.
    status = IntegerField(null=True)
    headers = TextField(null=True)  # JSON
    body = TextField(null=True)
    # JSON: the ids of what was stored, from which it is made anew; beside it, what the path named.
    reference = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        primary_key = CompositeKey("caller", "key")
        without_rowid = True
        indexes = ((("created_at",), False),)


class TermsField(TextField):
    """What the engine's full-text index is made of: see `engine.full_text`."""

    field_type = "TSVECTOR"  # on SQLite it is TEXT


class SearchDocument(Model):
    """What the search index has of a message, or of a conversation's title, under its id.

    On SQLite the FTS5 table `search_index` is made of `terms`: by `search_index`, and when they
    change or go by triggers. On PostgreSQL the column has a GIN index.
    """

    # Ids sort by age, and so do these numbers: see `search_index.number_of`.
    number = BigIntegerField(primary_key=True)
    id = TextField(unique=True)
    terms = TermsField()

    class Meta:
        database = database
        legacy_table_names = False


class SearchProgress(Model):
    """One row: the place in the feed of changes up to which the search index has everything."""

    changed = BigIntegerField()
    conversation_id = TextField()

    class Meta:
        database = database
        legacy_table_names = False
        primary_key = False


# In the order in which they refer to each other.
MODELS: tuple[type[Model], ...] = (
    *(Conversation, Tombstone, Tag, Message, ClientId, Event, Stream),
    *(ApiKey, UserToken, KeptAnswer, IdempotencyKey, Imported),
)
# They are made of the rows of the others, so nobody has to copy them.
DERIVED_MODELS: tuple[type[Model], ...] = (SearchDocument, SearchProgress)


def _columns(model: type[Model], row: type[Any]) -> list[Any]:
    """The columns of `model` in the order of the fields of `row`."""
    return [getattr(model, name) for name in row._fields if hasattr(model, name)]


CONVERSATION_COLUMNS = _columns(Conversation, ConversationRow)
MESSAGE_COLUMNS = _columns(Message, MessageRow)
CLIENT_ID_COLUMNS = _columns(ClientId, ClientIdRow)
EVENT_COLUMNS = _columns(Event, EventRow)
STREAM_COLUMNS = _columns(Stream, StreamRow)
API_KEY_COLUMNS = _columns(ApiKey, ApiKeyRow)
KEPT_ANSWER_COLUMNS = _columns(KeptAnswer, KeptAnswerRow)
USER_TOKEN_COLUMNS = _columns(UserToken, UserTokenRow)
