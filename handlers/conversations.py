"""Conversations under `/api/v1`: with their messages, paged by number."""

from dataclasses import dataclass
from typing import Annotated, Self
from urllib.parse import urlencode

from chalice.app import Blueprint
from pydantic import Field

from db import conversations, transcripts
from db.models import ConversationRow, MessageRow

from .http.caller import AnyCaller
from .http.endpoint import ANY, Reply, endpoint
from .http.preconditions import IfMatch, IfNoneMatch, etag
from .http.types import ABSENT, Id, Strict, Timestamp, Title, Uuid, changes
from .messages import MessageResponse

routes = Blueprint(__name__)

CONVERSATIONS = "/api/v1/conversations"


@dataclass(slots=True)
class ConversationResponse:
    id: Id
    project_id: Id
    title: str | None
    messages: list[MessageResponse]
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, row: ConversationRow, messages: list[MessageRow]) -> Self:
        return cls(
            id=row.id,
            project_id=row.project_id,
            title=row.title,
            messages=[MessageResponse.of(message) for message in messages],
            created_at=row.created_at,
            updated_at=row.updated_at,
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


class ConversationPatch(Strict):
    title: Title | None = ABSENT
    is_archived: bool = ABSENT


class ConversationQuery(Strict):
    include_messages: bool = Field(default=True, description="With `false`, `messages` is `[]`.")


class ConversationListQuery(ConversationQuery):
    project_id: Uuid | None = None
    skip: int = Field(default=0, ge=0, le=2**53 - 1)
    limit: int = Field(default=100, ge=1, le=1000)


@routes.route(CONVERSATIONS, methods=["POST"], content_types=ANY)
@endpoint(status=201, sends=("Location", "ETag"))
def create_conversation(caller: AnyCaller, body: ConversationCreate) -> Reply[ConversationResponse]:
    """Create a new conversation for a project."""
    caller = caller.within(body.project_id)
    row = conversations.start(caller.scope, body.project_id, body.title)
    headers = {"Location": f"{CONVERSATIONS}/{row.id}", "ETag": etag(row.version)}
    return Reply(ConversationResponse.of(row, []), headers)


@routes.route(CONVERSATIONS, methods=["GET"], content_types=ANY)
@endpoint(sends=("Link",))
def list_conversations(caller: AnyCaller, query: ConversationListQuery) -> Reply[ConversationList]:
    """Conversations, newest first, of one project or all."""
    if query.project_id:
        caller = caller.within(query.project_id)
    page = transcripts.newest(
        caller.scope, query.project_id, query.skip, query.limit, query.include_messages
    )
    shown = [ConversationResponse.of(row.conversation, row.messages) for row in page.rows]
    body = ConversationList(
        conversations=shown,
        total=len(page.rows),
        skip=query.skip,
        limit=query.limit,
    )
    return Reply(body, _links(query, page.has_more))


def _links(query: ConversationListQuery, has_more: bool) -> dict[str, str]:
    """The neighbouring pages (RFC 8288)."""
    pages = {"next": query.skip + query.limit} if has_more else {}
    if query.skip:
        pages["prev"] = max(0, query.skip - query.limit)
    given = query.model_dump(mode="json", exclude_unset=True)
    links = [
        f'<{CONVERSATIONS}?{urlencode({**given, "skip": skip, "limit": query.limit})}>; rel="{rel}"'
        for rel, skip in pages.items()
    ]
    return {"Link": ", ".join(links)} if links else {}


@routes.route(CONVERSATIONS + "/{conversation_id}", methods=["GET"], content_types=ANY)
@endpoint(sends=("ETag",))
def get_conversation(
    caller: AnyCaller, conversation_id: Uuid, query: ConversationQuery, headers: IfNoneMatch
) -> Reply[ConversationResponse]:
    """A conversation with all its messages, oldest first."""
    row, messages = transcripts.read(caller.scope, conversation_id, query.include_messages)
    tag = {"ETag": etag(row.version)}
    if headers.is_current(row.version):
        return Reply(None, tag, status=304)  # type: ignore[arg-type]
    return Reply(ConversationResponse.of(row, messages), tag)


@routes.route(CONVERSATIONS + "/{conversation_id}", methods=["PATCH"], content_types=ANY)
@endpoint(sends=("ETag",))
def change_conversation(
    caller: AnyCaller, conversation_id: Uuid, body: ConversationPatch, headers: IfMatch
) -> Reply[ConversationResponse]:
    """Change the title or the archived flag. What is absent stays; `title: null` clears it."""
    row, messages = transcripts.change(
        caller.scope, conversation_id, headers.check(), **changes(body)
    )
    return Reply(ConversationResponse.of(row, messages), {"ETag": etag(row.version)})


@routes.route(CONVERSATIONS + "/{conversation_id}", methods=["DELETE"], content_types=ANY)
@endpoint(status=204)
def delete_conversation(caller: AnyCaller, conversation_id: Uuid, headers: IfMatch) -> None:
    """Delete a conversation and its messages."""
    conversations.remove(caller.scope, conversation_id, headers.check())
