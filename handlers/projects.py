"""Projects, and under `/projects` their conversations and messages, paged by cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal, Self

from chalice.app import Blueprint
from pydantic import AfterValidator, ConfigDict, Field

from db import conversations, lists, messages, projects, transcripts
from db.lists import Filter
from db.models import ConversationRow, MessageRow

from .http import cursors
from .http.caller import AnyCaller, Caller, KeyHolder, SignedOnUser
from .http.cursors import Cursor
from .http.endpoint import ANY, Reply, endpoint
from .http.headers import REPLAYED
from .http.preconditions import IfMatch
from .http.problems import CLIENT_ID_REUSED, HELD, MESSAGE_DELETED
from .http.types import Cursors, Id, Strict, Text, Timestamp, Title, UserId, Uuid, Uuid7
from .messages import FinishedMessageCreate, Metadata, Parts, Role, all_or_no_client_ids

routes = Blueprint(__name__)

CONVERSATIONS = "/projects/{project_id}/conversations"
MESSAGES = CONVERSATIONS + "/{conversation_id}/messages"
PROJECTS = "/api/v1/projects"


@dataclass(slots=True)
class ProjectResponse:
    id: str
    last_active_at: Annotated[
        Timestamp, Field(description="When its newest message was appended, or conversation made.")
    ]


@dataclass(slots=True)
class ProjectList:
    projects: list[ProjectResponse]
    has_more: bool
    project_id: Annotated[
        str | None,
        Field(description="The one project that the key or token opens. `null`: it opens all."),
    ]


class ProjectListQuery(Strict):
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(default=None, description="From a `Link` header of this list.")


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


@dataclass(slots=True)
class ProjectMessage:
    __pydantic_config__: ClassVar = ConfigDict(title="ConversationMessage")

    id: Id
    type: Literal["message"]
    created_at: Annotated[int, Field(description="Unix time in seconds.")]
    parent_id: Id | None
    metadata: Metadata
    conversation_id: Id
    role: Role
    content: str | Parts
    attachments: Annotated[list[str], Field(description="Always empty.")]

    @classmethod
    def of(cls, row: MessageRow) -> Self:
        return cls(
            id=row.id,
            type="message",
            created_at=int(datetime.fromisoformat(row.created_at).timestamp()),
            parent_id=row.parent_id,
            metadata=row.metadata,
            conversation_id=row.conversation_id,
            role=row.role,  # type: ignore[arg-type]  # what was stored had been validated
            content=row.content,
            attachments=[],
        )


@dataclass(slots=True)
class ProjectMessagePage:
    data: list[ProjectMessage]
    has_more: bool
    first_id: Id | None
    last_id: Id | None

    @classmethod
    def of(cls, rows: Sequence[MessageRow], has_more: bool) -> Self:
        return cls(
            data=[ProjectMessage.of(row) for row in rows],
            has_more=has_more,
            first_id=rows[0].id if rows else None,
            last_id=rows[-1].id if rows else None,
        )


class ProjectMessageQuery(Cursors):
    limit: int = Field(default=20, ge=1, le=100)


class ProjectMessagesCreate(Strict):
    messages: Annotated[
        list[FinishedMessageCreate],
        Field(min_length=1, max_length=100),
        AfterValidator(all_or_no_client_ids),
    ]
    user_id: Annotated[UserId | None, Field(description="As X-User-Id.")] = None


@routes.route(PROJECTS, methods=["GET"], content_types=ANY)
@endpoint(sends=("Link",))
def list_projects(caller: AnyCaller, query: ProjectListQuery) -> Reply[ProjectList]:
    """The projects in which the caller sees conversations, by their ids."""
    after = "" if query.cursor is None else cursors.decode({}, query.cursor, row=r"[^\0]+").row
    found = projects.page_for(caller.scope, query.limit, after)
    headers = {}
    if found.has_more:
        cursor = cursors.encode({}, Cursor("after", found.rows[-1].id))
        headers["Link"] = cursors.link(PROJECTS, query, "next", cursor=cursor)
    listed = [ProjectResponse(id=row.id, last_active_at=row.last_active_at) for row in found.rows]
    return Reply(ProjectList(listed, found.has_more, caller.scope.project_id), headers)


@routes.route(CONVERSATIONS, methods=["GET"], content_types=ANY)
@endpoint()
def list_project_conversations(caller: KeyHolder, project_id: Text, query: PageQuery) -> Page:
    """A project's conversations, newest first. With X-User-Id, this user's."""
    return _listed(caller, project_id, query)


@routes.route("/projects/{project_id}/sso/conversations", methods=["GET"], content_types=ANY)
@endpoint()
def list_sso_conversations(caller: SignedOnUser, project_id: Text, query: PageQuery) -> Page:
    """The signed-on user's conversations in a project, newest first."""
    return _listed(caller, project_id, query)


def _listed(caller: Caller, project_id: str, query: PageQuery) -> Page:
    found = lists.page_for(
        caller.scope,
        project_id,
        Filter(query.is_archived),
        limit=query.limit,
        after=query.after,
        before=query.before,
    )
    return Page(
        data=[ProjectConversation.of(row) for row in found.rows],
        has_more=found.has_more,
        first_id=found.rows[0].id if found.rows else None,
        last_id=found.rows[-1].id if found.rows else None,
    )


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
@endpoint(problems=(HELD,))
def delete_project_conversation(
    caller: KeyHolder, project_id: Text, conversation_id: Uuid, headers: IfMatch
) -> None:
    """Delete a conversation and its messages."""
    conversations.remove(caller.scope, conversation_id, headers.check())


@routes.route(MESSAGES, methods=["GET"], content_types=ANY)
@endpoint()
def list_project_messages(
    caller: KeyHolder, project_id: Text, conversation_id: Uuid, query: ProjectMessageQuery
) -> ProjectMessagePage:
    """The messages of a conversation's active branch, root to leaf."""
    page = messages.page_for(caller.scope, conversation_id, query.limit, query.after, query.before)
    return ProjectMessagePage.of(page.rows, page.has_more)


@routes.route(MESSAGES, methods=["POST"], content_types=ANY)
@endpoint(status=201, if_known=200, problems=(CLIENT_ID_REUSED, MESSAGE_DELETED))
def append_project_messages(
    caller: KeyHolder, project_id: Text, conversation_id: Uuid7, body: ProjectMessagesCreate
) -> Reply[ProjectMessagePage]:
    """Append messages to a conversation, which is created under this id if there is none."""
    scope = caller.speaking_for(body.user_id).scope
    drafts = [message.draft() for message in body.messages]
    rows, is_replayed = transcripts.append_or_start(scope, project_id, conversation_id, drafts)
    page = ProjectMessagePage.of(rows, has_more=False)
    return Reply(page, REPLAYED.copy(), 200) if is_replayed else Reply(page)
