"""Conversations under `/projects`: without their messages, paged by cursor."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from chalice.app import Blueprint
from pydantic import ConfigDict, Field

from db import conversations
from db.conversations import ConversationSlice
from db.models import ConversationRow

from .http.caller import KeyHolder, SignedOnUser
from .http.endpoint import ANY, endpoint
from .http.types import Cursors, Id, Strict, Text, Timestamp, Title, Uuid

routes = Blueprint(__name__)

CONVERSATIONS = "/projects/{project_id}/conversations"


@dataclass(slots=True)
class ProjectConversation:
    __pydantic_config__: ClassVar = ConfigDict(title="Conversation")

    type: Literal["conversation"]
    id: Id
    title: str | None
    created_at: Timestamp
    is_archived: bool
    project_id: str
    user_id: str | None
    last_message_id: Id | None

    @classmethod
    def of(cls, row: ConversationRow) -> Self:
        return cls(
            type="conversation",
            id=row.id,
            title=row.title,
            created_at=row.created_at,
            is_archived=bool(row.is_archived),
            project_id=row.project_id,
            user_id=row.user_id,
            last_message_id=row.last_message_id,
        )


@dataclass(slots=True)
class Page:
    data: list[ProjectConversation]
    has_more: bool
    first_id: Id | None
    last_id: Id | None


class PageQuery(Cursors):
    is_archived: bool | None = None
    limit: int = Field(default=20, ge=1, le=100)


class ArchiveQuery(Strict):
    is_archived: bool = True


class Rename(Strict):
    title: Title


def _page(found: ConversationSlice) -> Page:
    rows = found.rows
    return Page(
        data=[ProjectConversation.of(row) for row in rows],
        has_more=found.has_more,
        first_id=rows[0].id if rows else None,
        last_id=rows[-1].id if rows else None,
    )


@routes.route(CONVERSATIONS, methods=["GET"], content_types=ANY)
@endpoint()
def list_project_conversations(caller: KeyHolder, project_id: Text, query: PageQuery) -> Page:
    """A project's conversations, newest first. With X-User-Id, this user's."""
    return _page(conversations.page_for(caller.scope, project_id, **query.model_dump()))


@routes.route("/projects/{project_id}/sso/conversations", methods=["GET"], content_types=ANY)
@endpoint()
def list_sso_conversations(caller: SignedOnUser, project_id: Text, query: PageQuery) -> Page:
    """The signed-on user's conversations in a project, newest first."""
    return _page(conversations.page_for(caller.scope, project_id, **query.model_dump()))


@routes.route(CONVERSATIONS + "/{conversation_id}/archive", methods=["POST"], content_types=ANY)
@endpoint()
def archive_conversation(
    caller: KeyHolder, project_id: Text, conversation_id: Uuid, query: ArchiveQuery
) -> ProjectConversation:
    """Archive a conversation, or take it back with `is_archived=false`."""
    row = conversations.change(caller.scope, conversation_id, is_archived=query.is_archived)
    return ProjectConversation.of(row)


@routes.route(CONVERSATIONS + "/{conversation_id}/rename", methods=["POST"], content_types=ANY)
@endpoint()
def rename_conversation(
    caller: KeyHolder, project_id: Text, conversation_id: Uuid, body: Rename
) -> ProjectConversation:
    """Rename a conversation."""
    row = conversations.change(caller.scope, conversation_id, title=body.title)
    return ProjectConversation.of(row)


@routes.route(CONVERSATIONS + "/{conversation_id}", methods=["DELETE"], content_types=ANY)
@endpoint()
def delete_project_conversation(caller: KeyHolder, project_id: Text, conversation_id: Uuid) -> None:
    """Delete a conversation and its messages."""
    conversations.remove(caller.scope, conversation_id)
