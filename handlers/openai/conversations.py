"""OpenAI's conversations and their items: the same rows, in the shapes of its clients."""

from typing import Annotated, Any, Literal

from chalice.app import Blueprint
from pydantic import Field, model_validator

from db import conversations, lists, messages, transcripts
from db.lists import Filter
from db.messages import Draft
from db.openai_ids import CONVERSATION, shown_id
from db.scope import NO_PROJECT

from ..http.caller import Caller, OpenAICaller
from ..http.endpoint import ANY, SCAN, endpoint
from ..http.problems import HELD
from ..http.types import ABSENT, Cursors, Strict, Title
from .wire import (
    ConversationId,
    Cursor,
    DeletedConversation,
    IncludeQuery,
    ItemId,
    ItemList,
    Metadata,
    OpenAIConversation,
    OpenAIConversationList,
    SentItem,
    ShownItem,
    draft_of,
    shown_item,
    with_metadata,
)

routes = Blueprint(__name__)

CONVERSATIONS = "/v1/conversations"
ONE = CONVERSATIONS + "/{conversation_id}"
ITEMS = ONE + "/items"
Items = Annotated[list[SentItem], Field(max_length=20, fail_fast=True)]


class OpenAIConversationCreate(Strict):
    items: Items | None = None
    metadata: Metadata | None = None
    title: Title | None = None


class OpenAIConversationUpdate(Strict):
    metadata: Annotated[
        Metadata | None, Field(description="In the place of all that is shown. `null` empties it.")
    ]
    title: Title | None = ABSENT


class ItemsCreate(Strict):
    items: Items

    def drafts(self) -> list[Draft]:
        return [draft_of(item) for item in self.items]


class ListQuery(Cursors):
    limit: int = Field(default=20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[Cursor | None, Field(description="The page behind this id.")] = None
    before: Annotated[Cursor | None, Field(description="The page before this id.")] = None


class OpenAIConversationListQuery(ListQuery):
    metadata: Annotated[
        dict[str, str],
        Field(description="`metadata[key]=value`: those that have all of them."),
    ] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def gather_metadata(cls, query: Any) -> Any:
        """`metadata[key]` is a parameter for each key."""
        pairs = {
            name: name[len("metadata[") : -1]
            for name in query
            if name.startswith("metadata[") and name.endswith("]")
        }
        rest = {name: value for name, value in query.items() if name not in pairs}
        if pairs:
            rest["metadata"] = {key: query[name] for name, key in pairs.items()}
        return rest


class ItemListQuery(ListQuery, IncludeQuery):
    pass


def project_of(caller: Caller) -> str:
    """Where the caller's new conversations are made."""
    return caller.scope.project_id or NO_PROJECT


@routes.route(CONVERSATIONS, methods=["POST"], content_types=ANY)
@endpoint()
def create_openai_conversation(
    caller: OpenAICaller, body: OpenAIConversationCreate | None = None
) -> OpenAIConversation:
    """OpenAI: create a conversation, with its first items."""
    body = body or OpenAIConversationCreate()
    row, _ = transcripts.start(
        caller.scope,
        project_of(caller),
        [draft_of(item) for item in body.items or ()],
        title=body.title,
        metadata=body.metadata or None,
    )
    return OpenAIConversation.of(row)


@routes.route(CONVERSATIONS, methods=["GET"], content_types=ANY)
@endpoint(waits_for=SCAN)
def list_openai_conversations(
    caller: OpenAICaller, query: OpenAIConversationListQuery
) -> OpenAIConversationList:
    """OpenAI has no list of conversations. This one is as Azure Foundry's."""
    page = lists.page_for(
        caller.scope,
        which=Filter(metadata=tuple(query.metadata.items())),
        limit=query.limit,
        after=query.after,
        before=query.before,
        ascending=query.order == "asc",
    )
    return OpenAIConversationList.of(page.rows, page.has_more)


@routes.route(ONE, methods=["GET"], content_types=ANY)
@endpoint()
def get_openai_conversation(
    caller: OpenAICaller, conversation_id: ConversationId
) -> OpenAIConversation:
    """OpenAI: a conversation, without its items."""
    row, _ = transcripts.read(caller.scope, conversation_id, with_messages=False)
    return OpenAIConversation.of(row)


@routes.route(ONE, methods=["POST"], content_types=ANY)
@endpoint()
def update_openai_conversation(
    caller: OpenAICaller, conversation_id: ConversationId, body: OpenAIConversationUpdate
) -> OpenAIConversation:
    """OpenAI: give a conversation other metadata. What OpenAI's could not have stays."""
    pairs = body.metadata or {}
    changes: dict[str, Any] = {"metadata": lambda before: with_metadata(before, pairs) or None}
    if "title" in body.model_fields_set:
        changes["title"] = body.title
    return OpenAIConversation.of(conversations.change(caller.scope, conversation_id, **changes))


@routes.route(ONE, methods=["DELETE"], content_types=ANY)
@endpoint(problems=(HELD,))
def delete_openai_conversation(
    caller: OpenAICaller, conversation_id: ConversationId
) -> DeletedConversation:
    """OpenAI: delete a conversation and its items."""
    conversations.remove(caller.scope, conversation_id)
    return DeletedConversation(
        id=shown_id(CONVERSATION, conversation_id), object="conversation.deleted", deleted=True
    )


@routes.route(ITEMS, methods=["POST"], content_types=ANY)
@endpoint()
def create_items(
    caller: OpenAICaller, conversation_id: ConversationId, query: IncludeQuery, body: ItemsCreate
) -> ItemList:
    """OpenAI: append items, all or none."""
    return ItemList.of(messages.append(caller.scope, conversation_id, body.drafts()))


@routes.route(ITEMS, methods=["GET"], content_types=ANY)
@endpoint()
def list_items(
    caller: OpenAICaller, conversation_id: ConversationId, query: ItemListQuery
) -> ItemList:
    """OpenAI: a page of items of the active branch, newest first or `order=asc`."""
    page = messages.page_for(
        caller.scope,
        conversation_id,
        query.limit,
        query.after,
        query.before,
        descending=query.order == "desc",
    )
    return ItemList.of(page.rows, page.has_more)


@routes.route(ITEMS + "/{item_id}", methods=["GET"], content_types=ANY)
@endpoint()
def get_item(
    caller: OpenAICaller, conversation_id: ConversationId, item_id: ItemId, query: IncludeQuery
) -> ShownItem:
    """OpenAI: an item. If it is being written, it has the text so far."""
    return shown_item(messages.find(caller.scope, conversation_id, item_id))


@routes.route(ITEMS + "/{item_id}", methods=["DELETE"], content_types=ANY)
@endpoint(problems=(HELD,))
def delete_item(
    caller: OpenAICaller, conversation_id: ConversationId, item_id: ItemId
) -> OpenAIConversation:
    """OpenAI: delete an item. The answer is its conversation."""
    return OpenAIConversation.of(messages.remove(caller.scope, conversation_id, item_id))
