"""Tags of conversations: a row for each, by which the lists by tag are read.

The tags themselves, in their order, are a column of the conversation. The rows repeat what a list
by tag has to know, so that it is one run of an index. Conversations without tags pay nothing.
"""

from typing import Any

from .engine.prepared import insertion, prepared
from .models import ConversationRow, Tag

_COLUMNS = ("conversation_id", "name", "project_id", "is_archived", "is_pinned", "activity")


def store(conversation: ConversationRow) -> None:
    """Make the rows say what the conversation says. The caller holds its lock."""
    _delete(conversation.id)
    for name in conversation.tags or ():
        _insert(
            conversation.id,
            name,
            conversation.project_id,
            conversation.is_archived,
            conversation.is_pinned,
            conversation.activity,
        )


def set_flags(conversation: ConversationRow) -> None:
    """The conversation may have other flags. The caller holds its lock."""
    _set_flags(conversation.id, conversation.is_archived, conversation.is_pinned)


def move(conversation: ConversationRow) -> None:
    """The conversation has another activity. The caller holds its lock."""
    if conversation.tags:
        _move(conversation.id, conversation.activity)


_insert = insertion(Tag, _COLUMNS)


@prepared
def _delete(conversation_id: Any) -> Any:
    """All tags of a conversation."""
    return Tag.delete().where(Tag.conversation_id == conversation_id)


@prepared
def _set_flags(conversation_id: Any, is_archived: Any, is_pinned: Any) -> Any:
    """The flags of a conversation, in the rows of its tags."""
    return Tag.update(is_archived=is_archived, is_pinned=is_pinned).where(
        Tag.conversation_id == conversation_id
    )


@prepared
def _move(conversation_id: Any, activity: Any) -> Any:
    """The place of a conversation in the lists by tag and activity."""
    return Tag.update(activity=activity).where(Tag.conversation_id == conversation_id)
