"""The trash: deleted conversations, until they are restored or purged."""

from dataclasses import dataclass
from typing import Annotated, Self

from chalice.app import Blueprint
from pydantic import Field

from db import trash
from db.trash import Discarded

from .conversations import ConversationResponse
from .http import cursors
from .http.caller import AnyCaller
from .http.cursors import Cursor
from .http.endpoint import ANY, Reply, endpoint
from .http.preconditions import etag
from .http.problems import KEY_TAKEN
from .http.types import Id, Strict, Timestamp, Uuid

routes = Blueprint(__name__)

TRASH = "/api/v1/trash"


@dataclass(slots=True)
class DiscardedResponse(ConversationResponse):
    deleted_at: Timestamp
    purge_at: Annotated[Timestamp, Field(description="When it is purged, or soon after.")]

    @classmethod
    def of_discarded(cls, row: Discarded) -> Self:
        shown = ConversationResponse.of(row.conversation, [])
        fields = {name: getattr(shown, name) for name in ConversationResponse.__slots__}
        return cls(**fields, deleted_at=row.deleted_at, purge_at=row.purge_at)


@dataclass(slots=True)
class TrashPage:
    conversations: list[DiscardedResponse]
    has_more: bool


@dataclass(slots=True)
class PurgeReceipt:
    id: Id
    messages: Annotated[int, Field(description="How many messages went with it.")]
    purged_at: Timestamp


class TrashQuery(Strict):
    project_id: Uuid | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, description="From a `Link` header of this list.")


@routes.route(TRASH, methods=["GET"], content_types=ANY)
@endpoint(sends=("Link",))
def list_trash(caller: AnyCaller, query: TrashQuery) -> Reply[TrashPage]:
    """Deleted conversations, the latest deleted first, without their messages."""
    if query.project_id:
        caller = caller.within(query.project_id)
    asked = {"project_id": query.project_id}
    after = None
    if query.cursor is not None:
        place = cursors.decode(asked, query.cursor, row=f"{cursors.TIME} {cursors.UUID}").row
        deleted_at, _, id = place.partition(" ")
        after = (deleted_at, id)
    page = trash.page_for(caller.scope, query.project_id, query.limit, after)
    headers = {}
    if page.has_more:
        last = page.rows[-1]
        cursor = cursors.encode(asked, Cursor("after", f"{last.deleted_at} {last.conversation.id}"))
        headers["Link"] = cursors.link(TRASH, query, "next", cursor=cursor)
    shown = [DiscardedResponse.of_discarded(row) for row in page.rows]
    return Reply(TrashPage(shown, page.has_more), headers)


@routes.route(TRASH + "/{conversation_id}/restore", methods=["POST"], content_types=ANY)
@endpoint(sends=("ETag",), problems=(KEY_TAKEN,))
def restore_conversation(caller: AnyCaller, conversation_id: Uuid) -> Reply[ConversationResponse]:
    """Take a conversation out of the trash, as it was."""
    row, messages = trash.restore(caller.scope, conversation_id)
    return Reply(ConversationResponse.of(row, messages), {"ETag": etag(row.version)})


@routes.route(TRASH + "/{conversation_id}", methods=["DELETE"], content_types=ANY)
@endpoint()
def purge_conversation(caller: AnyCaller, conversation_id: Uuid) -> PurgeReceipt:
    """Delete a conversation in the trash for ever."""
    receipt = trash.purge(caller.scope, conversation_id)
    return PurgeReceipt(id=receipt.id, messages=receipt.messages, purged_at=receipt.purged_at)
