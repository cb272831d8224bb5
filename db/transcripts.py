"""Transcripts: conversations together with their messages, read from one snapshot."""

from typing import Any, NamedTuple

from . import conversations, messages
from .conversations import IfMatch
from .engine.database import snapshot, transaction
from .models import ConversationRow, MessageRow
from .scope import Scope
from .streams import settled


class Transcript(NamedTuple):
    """A conversation with its messages, oldest first."""

    conversation: ConversationRow
    messages: list[MessageRow]


class TranscriptSlice(NamedTuple):
    """Transcripts, newest first, and whether there are more behind them."""

    rows: list[Transcript]
    has_more: bool


@settled
@snapshot
def read(scope: Scope, conversation_id: str, with_messages: bool = True) -> Transcript:
    """Raises ConversationNotFound."""
    conversation = conversations.find(scope, conversation_id)
    return Transcript(conversation, _messages_of(conversation) if with_messages else [])


@settled
@transaction
def change(
    scope: Scope, conversation_id: str, if_match: IfMatch | None = None, **changes: Any
) -> Transcript:
    """`conversations.change`, and the messages as they are then."""
    conversation = conversations.change(scope, conversation_id, if_match, **changes)
    return Transcript(conversation, _messages_of(conversation))


@settled
@snapshot
def newest(
    scope: Scope, project_id: str | None, skip: int, limit: int, with_messages: bool = True
) -> TranscriptSlice:
    """A page in three queries at most, whatever its size, and two more while somebody streams."""
    page = conversations.newest(scope, project_id, skip, limit)
    found = messages.all_in([row.id for row in page.rows]) if with_messages else {}
    rows = [Transcript(row, found.get(row.id, [])) for row in page.rows]
    return TranscriptSlice(rows, page.has_more)


def _messages_of(conversation: ConversationRow) -> list[MessageRow]:
    return messages.all_in([conversation.id])[conversation.id]
