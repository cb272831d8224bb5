"""Conversations together with their messages, as the first API shows them, from one snapshot."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .conversation import Conversation, ConversationRow
from .database import transaction
from .message import Message, MessageRow
from .scope import Scope
from .stream import read_with_streams, settling


class Transcript(NamedTuple):
    conversation: ConversationRow
    messages: list[MessageRow]


class TranscriptSlice(NamedTuple):
    rows: list[Transcript]
    has_more: bool


@read_with_streams
def read(scope: Scope, conversation_id: str, with_messages: bool = True) -> Transcript:
    """Raises ConversationNotFound."""
    conversation = Conversation.find(scope, conversation_id)
    messages = Message.of([conversation_id])[conversation_id] if with_messages else []
    return Transcript(conversation, messages)


@settling
@transaction
def change(
    scope: Scope,
    conversation_id: str,
    if_match: Callable[[int], bool] | None = None,
    **changes: Any,
) -> Transcript:
    """`Conversation.change`, and the messages as they are then."""
    conversation = Conversation.change(scope, conversation_id, if_match, **changes)
    return Transcript(conversation, Message.of([conversation_id])[conversation_id])


@read_with_streams
def newest(
    scope: Scope, project_id: str | None, skip: int, limit: int, with_messages: bool = True
) -> TranscriptSlice:
    """A page in three queries at most, whatever its size (two more while somebody streams)."""
    page = Conversation.newest(scope, project_id, skip, limit)
    messages = Message.of([row.id for row in page.rows]) if with_messages else {}
    rows = [Transcript(row, messages.get(row.id, [])) for row in page.rows]
    return TranscriptSlice(rows, page.has_more)
