"""Conversations under `/api/v1`: with their messages, paged by number or by cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from chalice.app import Blueprint
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from db import conversations, transcripts
from db.conversations import FORKED_FROM
from db.lists import ACTIVITY, Filter
from db.messages import Draft
from db.models import ConversationRow, MessageRow, json_of
from db.transcripts import Transcript, TranscriptSlice

from .http import cursors
from .http.caller import AnyCaller, Caller
from .http.cursors import Cursor
from .http.endpoint import ANY, Reply, endpoint
from .http.preconditions import IfMatch, IfNoneMatch, etag
from .http.problems import HELD, HOLD_NOT_ALLOWED, INVALID, KEY_TAKEN, Problem
from .http.types import ABSENT, Id, Key, Strict, Tag, Tags, Timestamp, Title, Uuid, changes
from .messages import Branch, MessageCreate, MessageResponse, Metadata, all_or_no_client_ids

routes = Blueprint(__name__)

CONVERSATIONS = "/api/v1/conversations"

MAX_METADATA_BYTES = 16_384  # of JSON in UTF-8
# In the metadata of a fork: its origin. It comes on top of the limit, so that all can be forked.
MAX_ORIGIN_BYTES = 150


def _within_16_kb(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    if metadata is None:
        return None
    others = {name: value for name, value in metadata.items() if name != FORKED_FROM}
    try:
        size, rest = (len(json_of(each).encode()) for each in (metadata, others))
    except ValueError:  # a number is too large: the store says so
        return metadata
    if size - min(size - rest, MAX_ORIGIN_BYTES) > MAX_METADATA_BYTES:
        raise ValueError(f"has {size:,} bytes as JSON: send at most {MAX_METADATA_BYTES:,}")
    return metadata


ObjectOf16KB = Annotated[
    dict[str, Any] | None,
    AfterValidator(_within_16_kb),
    Field(description="A JSON object of at most 16,384 bytes in UTF-8."),
]
OwnKey = Annotated[
    Key | None,
    Field(description="The caller's own name for it, unique within the project and the user."),
]


@dataclass(slots=True)
class ConversationResponse:
    id: Id
    project_id: Annotated[
        str, Field(description="A UUID, or any name if it was made under `/projects`.")
    ]
    title: str | None
    messages: list[MessageResponse]
    created_at: Timestamp
    updated_at: Timestamp
    user_id: str | None
    key: str | None
    is_archived: bool
    is_pinned: bool
    is_held: Annotated[bool, Field(description="Under a legal hold: nothing of it is deleted.")]
    tags: list[str]
    metadata: Metadata
    last_message_id: Annotated[
        Id | None, Field(description="The active leaf: the end of the branch that is shown.")
    ]

    @classmethod
    def of(cls, row: ConversationRow, messages: Sequence[MessageRow]) -> Self:
        return cls(
            id=row.id,
            project_id=row.project_id,
            title=row.title,
            messages=[MessageResponse.of(message) for message in messages],
            created_at=row.created_at,
            updated_at=row.updated_at,
            user_id=row.user_id,
            key=row.key,
            is_archived=bool(row.is_archived),
            is_pinned=bool(row.is_pinned),
            is_held=bool(row.is_held),
            tags=row.tags or [],
            metadata=row.metadata,
            last_message_id=row.last_message_id,
        )


@dataclass(slots=True)
class ConversationList:
    conversations: list[ConversationResponse]
    total: Annotated[int, Field(description="The number of conversations on this page.")]
    skip: int
    limit: int


class ConversationCreate(Strict):
    project_id: Uuid
    title: Title | None = None
    key: OwnKey = None
    tags: Tags = Field(default_factory=list)
    metadata: ObjectOf16KB = None
    messages: Annotated[
        list[MessageCreate], Field(max_length=100), AfterValidator(all_or_no_client_ids)
    ] = Field(default_factory=list, description="Its first messages, as a batch of them.")

    def fields(self) -> dict[str, Any]:
        """What `conversations.start` takes beside the project and the key."""
        return {"title": self.title, "tags": self.tags, "metadata": self.metadata}

    def drafts(self) -> list[Draft]:
        return [message.draft() for message in self.messages]


class ConversationPatch(Strict):
    title: Title | None = ABSENT
    is_archived: bool = ABSENT
    is_pinned: bool = ABSENT
    is_held: Annotated[bool, Field(description="A legal hold. Only without X-User-Id.")] = ABSENT
    tags: Tags = ABSENT
    metadata: ObjectOf16KB = ABSENT
    last_message_id: Annotated[
        Uuid, Field(description="Any of its messages: the end of the branch to be shown.")
    ] = ABSENT


class MessagesQuery(Strict):
    include_messages: bool = Field(default=True, description="With `false`, `messages` is `[]`.")


class ConversationQuery(MessagesQuery):
    branch: Branch | None = None


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


class ConversationListQuery(MessagesQuery):
    project_id: Uuid | None = None
    is_archived: bool | None = None
    is_pinned: bool | None = None
    tag: Annotated[
        list[Tag],
        BeforeValidator(_listed),
        Field(max_length=16, description="Repeated: only those that have all of them."),
    ] = Field(default_factory=list)
    sort: Literal["created", "activity"] = Field(
        default="created",
        description="`activity`: by the newest message, as it was appended. The newest come first.",
    )
    skip: int = Field(default=0, ge=0, le=2**53 - 1, description="Not with `cursor`.")
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(
        default=None, description="From a `Link` header of the same list. Not with `skip`."
    )

    @model_validator(mode="after")
    def cursor_or_skip(self) -> Self:
        if self.cursor is not None and "skip" in self.model_fields_set:
            raise ValueError("cursor and skip cannot be combined")
        return self

    @property
    def filter(self) -> Filter:
        return Filter(self.is_archived, self.is_pinned, tuple(dict.fromkeys(self.tag)))

    @property
    def asked(self) -> dict[str, Any]:
        """What makes this list another one than others, for its cursors."""
        names = {"project_id", "is_archived", "is_pinned", "tag", "sort"}
        return self.model_dump(mode="json", include=names)


@routes.route(CONVERSATIONS, methods=["POST"], content_types=ANY)
@endpoint(status=201, sends=("Location", "ETag"), problems=(KEY_TAKEN,))
def create_conversation(caller: AnyCaller, body: ConversationCreate) -> Reply[ConversationResponse]:
    """Create a new conversation for a project."""
    scope = caller.within(body.project_id).scope
    return made(
        transcripts.start(scope, body.project_id, body.drafts(), key=body.key, **body.fields())
    )


@routes.route(CONVERSATIONS + "/by-key/{key}", methods=["PUT"], content_types=ANY)
@endpoint(status=201, if_known=200, sends=("Location", "ETag"))
def get_or_create_conversation(
    caller: AnyCaller, key: Key, body: ConversationCreate
) -> Reply[ConversationResponse]:
    """The conversation that the caller has under this key. It is created if there is none.

    Of several requests at once, one creates it. One that exists is answered unchanged, with 200.
    """
    scope = caller.within(body.project_id).scope
    if body.key not in (None, key):
        error = {"loc": ["body", "key"], "msg": "differs from the path's", "type": "key"}
        raise Problem(INVALID, "key differs from the path's: leave it out.", errors=[error])
    transcript, is_new = transcripts.find_or_start(
        scope, body.project_id, key, body.drafts(), **body.fields()
    )
    return made(transcript, 201 if is_new else 200)


def made(transcript: Transcript, status: int = 201) -> Reply[ConversationResponse]:
    """The answer that has a new conversation, or one that was there."""
    row, messages = transcript
    headers = {"Location": f"{CONVERSATIONS}/{row.id}", "ETag": etag(row.version)}
    return Reply(ConversationResponse.of(row, messages), headers, status)


@routes.route(CONVERSATIONS, methods=["GET"], content_types=ANY)
@endpoint(sends=("Link",))
def list_conversations(caller: AnyCaller, query: ConversationListQuery) -> Reply[ConversationList]:
    """Conversations, newest first, of one project or all."""
    if query.project_id:
        caller = caller.within(query.project_id)
    cursor = None if query.cursor is None else cursors.decode(query.asked, query.cursor)
    page = transcripts.newest(
        caller.scope,
        query.project_id,
        query.filter,
        query.sort,
        limit=query.limit,
        skip=query.skip,
        with_messages=query.include_messages,
        **({cursor.direction: cursor.row} if cursor else {}),
    )
    shown = [ConversationResponse.of(row.conversation, row.messages) for row in page.rows]
    body = ConversationList(
        conversations=shown,
        total=len(page.rows),
        skip=query.skip,
        limit=query.limit,
    )
    return Reply(body, _links(query, cursor, page))


def _links(
    query: ConversationListQuery, cursor: Cursor | None, page: TranscriptSlice
) -> dict[str, str]:
    """The neighbouring pages (RFC 8288): by cursor, unless the caller counts."""
    pages: dict[str, dict[str, Any]] = {}
    if "skip" in query.model_fields_set:
        if page.has_more:
            pages["next"] = {"skip": query.skip + query.limit}
        if query.skip:
            pages["prev"] = {"skip": max(0, query.skip - query.limit)}
    elif page.rows:
        goes_back = cursor is not None and cursor.direction == "before"
        if page.has_more or goes_back:
            pages["next"] = _at(query, "after", page.rows[-1].conversation)
        if cursor is not None and (page.has_more or not goes_back):
            pages["prev"] = _at(query, "before", page.rows[0].conversation)
    links = [cursors.link(CONVERSATIONS, query, rel, **place) for rel, place in pages.items()]
    return {"Link": ", ".join(links)} if links else {}


def _at(query: ConversationListQuery, direction: str, row: ConversationRow) -> dict[str, str]:
    place = row.activity if query.sort == ACTIVITY else row.id
    return {"cursor": cursors.encode(query.asked, Cursor(direction, place))}


@routes.route(CONVERSATIONS + "/{conversation_id}", methods=["GET"], content_types=ANY)
@endpoint(sends=("ETag",))
def get_conversation(
    caller: AnyCaller, conversation_id: Uuid, query: ConversationQuery, headers: IfNoneMatch
) -> Reply[ConversationResponse]:
    """A conversation with the messages of its active branch, oldest first, or of another one."""
    row, messages = transcripts.read(
        caller.scope, conversation_id, query.include_messages, query.branch
    )
    tag = {"ETag": etag(row.version)}
    if headers.is_current(row.version):
        return Reply(None, tag, status=304)  # type: ignore[arg-type]
    return Reply(ConversationResponse.of(row, messages), tag)


@routes.route(CONVERSATIONS + "/{conversation_id}", methods=["PATCH"], content_types=ANY)
@endpoint(sends=("ETag",), problems=(HOLD_NOT_ALLOWED,))
def change_conversation(
    caller: AnyCaller, conversation_id: Uuid, body: ConversationPatch, headers: IfMatch
) -> Reply[ConversationResponse]:
    """Change what is sent. What is absent stays; `title: null` clears it.

    `last_message_id` switches to the branch that ends there.
    """
    _refuse_hold(caller, body)
    row, messages = transcripts.change(
        caller.scope, conversation_id, headers.check(), **changes(body)
    )
    return Reply(ConversationResponse.of(row, messages), {"ETag": etag(row.version)})


def _refuse_hold(caller: Caller, body: ConversationPatch) -> None:
    if "is_held" in body.model_fields_set and caller.scope.user_id is not None:
        raise Problem(HOLD_NOT_ALLOWED, "Set or lift a hold without X-User-Id.")


@routes.route(CONVERSATIONS + "/{conversation_id}", methods=["DELETE"], content_types=ANY)
@endpoint(status=204, problems=(HELD,))
def delete_conversation(caller: AnyCaller, conversation_id: Uuid, headers: IfMatch) -> None:
    """Delete a conversation and its messages."""
    conversations.remove(caller.scope, conversation_id, headers.check())
