"""Messages of a conversation: append, page, get, edit, delete."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from chalice.app import Blueprint
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from db import messages
from db.messages import ACTIVE_LEAF, Draft
from db.models import MessageRow

from .http.caller import AnyCaller
from .http.endpoint import ANY, Reply, endpoint
from .http.headers import REPLAYED
from .http.problems import CLIENT_ID_REUSED, HELD, MESSAGE_DELETED
from .http.types import (
    ABSENT,
    LIST,
    ONE,
    ClientId,
    Cursors,
    Id,
    Strict,
    Text,
    Timestamp,
    Uuid,
    changes,
    one_or_list,
)

routes = Blueprint(__name__)

Role = Literal["system", "user", "assistant", "tool"]
Status = Literal["in_progress", "completed", "incomplete"]
MESSAGES = "/api/v1/conversations/{conversation_id}/messages"

Parts = Annotated[
    list[dict[str, Any]],
    Field(
        fail_fast=True,
        description='Parts such as `{"type": "text", "text": "…"}`; stored verbatim.',
    ),
]
Content = Annotated[
    Annotated[Text, Tag(ONE)] | Annotated[Parts, Tag(LIST)], Discriminator(one_or_list)
]
Metadata = Annotated[dict[str, Any] | None, Field(description="Any JSON object.")]


ParentId = Annotated[
    Uuid | None,
    Field(
        description="The message that it follows; `null` for a new root. Absent: the one before it "
        "in the batch, or the active leaf."
    ),
]
OwnId = Annotated[
    ClientId | None,
    Field(
        description="The client's own id for it. If it is sent again, it is stored once, for ever."
    ),
]
Branch = Annotated[
    Literal["all"] | Uuid,
    Field(
        description="`all`, or the message with which the branch ends. Default: the active branch."
    ),
]


@dataclass(slots=True)
class MessageResponse:
    id: Id
    conversation_id: Id
    role: Role
    content: str | Parts
    status: Status
    metadata: Metadata
    created_at: Timestamp
    updated_at: Timestamp
    parent_id: Id | None
    client_id: str | None

    @classmethod
    def of(cls, row: MessageRow) -> Self:
        return cls(
            id=row.id,
            conversation_id=row.conversation_id,
            role=row.role,  # type: ignore[arg-type]  # what was stored had been validated
            content=row.content,
            status=row.status,  # type: ignore[arg-type]
            metadata=row.metadata,
            created_at=row.created_at,
            updated_at=row.updated_at,
            parent_id=row.parent_id,
            client_id=row.client_id,
        )


# For the OpenAPI document: what `db.messages` refuses.
_ONLY_TEXT_STREAMS = ConfigDict(
    json_schema_extra={
        "not": {
            "required": ["content", "status"],
            "properties": {"content": {"type": "array"}, "status": {"const": "in_progress"}},
        }
    }
)


class FinishedMessageCreate(Strict):
    role: Role
    content: Content
    metadata: Metadata = None
    parent_id: ParentId = ABSENT
    client_id: OwnId = None

    def draft(self) -> Draft:
        return Draft(
            role=self.role,
            content=self.content,
            metadata=self.metadata,
            parent_id=parent_of(self),
            client_id=self.client_id,
        )


class MessageCreate(FinishedMessageCreate):
    model_config = _ONLY_TEXT_STREAMS

    status: Status = "completed"

    def draft(self) -> Draft:
        return super().draft()._replace(status=self.status)


def parent_of(body: BaseModel) -> str | None:
    """The `parent_id` of a body, or what stands for none."""
    return body.parent_id if "parent_id" in body.model_fields_set else ACTIVE_LEAF  # type: ignore[attr-defined]


def all_or_no_client_ids(batch: Sequence[Any]) -> Any:
    """Refuse a batch of which a part could not be told when it is sent again."""
    ids = [message.client_id for message in batch if message.client_id is not None]
    if ids and len(ids) < len(batch):
        raise ValueError("either all messages of a batch have a client_id, or none")
    if len(set(ids)) < len(ids):
        raise ValueError("the client_ids of a batch must differ")
    return batch


Batch = Annotated[
    list[MessageCreate],
    Field(min_length=1, max_length=100),
    AfterValidator(all_or_no_client_ids),
]
OneOrBatch = Annotated[
    Annotated[MessageCreate, Tag(ONE)] | Annotated[Batch, Tag(LIST)], Discriminator(one_or_list)
]


class MessagePatch(Strict):
    model_config = _ONLY_TEXT_STREAMS

    content: Content = ABSENT
    metadata: Metadata = ABSENT
    status: Status = ABSENT


@dataclass(slots=True)
class MessagePage:
    messages: list[MessageResponse]
    has_more: bool
    first_id: Id | None
    last_id: Id | None


class MessageQuery(Cursors):
    limit: int = Field(default=100, ge=1, le=1000)
    order: Literal["asc", "desc"] = "asc"
    branch: Branch | None = None


@routes.route(MESSAGES, methods=["POST"], content_types=ANY)
@endpoint(
    status=201,
    if_known=200,
    sends=("Location",),
    problems=(CLIENT_ID_REUSED, MESSAGE_DELETED),
)
def append_messages(
    caller: AnyCaller, conversation_id: Uuid, body: OneOrBatch
) -> Reply[MessageResponse | list[MessageResponse]]:
    """Append a message, or a list of them: all or none."""
    batch = body if isinstance(body, list) else [body]
    drafts = [message.draft() for message in batch]
    rows, is_replayed = messages.append_once(caller.scope, conversation_id, drafts)
    appended = [MessageResponse.of(row) for row in rows]
    status, headers = (200, REPLAYED.copy()) if is_replayed else (201, {})
    if isinstance(body, list):
        return Reply(appended, headers, status)
    place = MESSAGES.format(conversation_id=conversation_id)
    return Reply(appended[0], {"Location": f"{place}/{appended[0].id}", **headers}, status)


@routes.route(MESSAGES, methods=["GET"], content_types=ANY)
@endpoint()
def list_messages(caller: AnyCaller, conversation_id: Uuid, query: MessageQuery) -> MessagePage:
    """A page of messages, oldest first or `order=desc`. The cursor is a message's id."""
    page = messages.page_for(
        caller.scope,
        conversation_id,
        query.limit,
        query.after,
        query.before,
        descending=query.order == "desc",
        branch=query.branch,
    )
    return MessagePage(
        messages=[MessageResponse.of(row) for row in page.rows],
        has_more=page.has_more,
        first_id=page.rows[0].id if page.rows else None,
        last_id=page.rows[-1].id if page.rows else None,
    )


@routes.route(MESSAGES + "/{message_id}", methods=["GET"], content_types=ANY)
@endpoint()
def get_message(caller: AnyCaller, conversation_id: Uuid, message_id: Uuid) -> MessageResponse:
    """A message. If it is being written, it has the text so far."""
    return MessageResponse.of(messages.find(caller.scope, conversation_id, message_id))


@routes.route(MESSAGES + "/{message_id}", methods=["PATCH"], content_types=ANY)
@endpoint()
def edit_message(
    caller: AnyCaller, conversation_id: Uuid, message_id: Uuid, body: MessagePatch
) -> MessageResponse:
    """Change content, metadata or status. What is absent stays; `in_progress` reopens a stream."""
    row = messages.edit(caller.scope, conversation_id, message_id, **changes(body))
    return MessageResponse.of(row)


@routes.route(MESSAGES + "/{message_id}", methods=["DELETE"], content_types=ANY)
@endpoint(status=204, problems=(HELD,))
def delete_message(caller: AnyCaller, conversation_id: Uuid, message_id: Uuid) -> None:
    """Delete a message, whether it is streaming or not. Its children take its parent."""
    messages.remove(caller.scope, conversation_id, message_id)
