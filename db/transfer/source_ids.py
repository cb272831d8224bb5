"""The ids under which a format's export names a conversation and its messages."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..models import ConversationRow, MessageRow
from .imported_ids import tail_in, tail_of, tails_of
from .parsed import import_of

ROLES = {"system", "user", "assistant", "tool"}


def source_ids(
    conversation: ConversationRow, rows: Sequence[MessageRow], format: str
) -> tuple[str, dict[str, str]]:
    """The conversation's id, and those of the messages by ours.

    They are the source's if an import has made them of these, which their tails tell. Anybody may
    have written metadata, or copied it. Else they are our own, by which an import knows them, too.
    """
    owner = (conversation.project_id, conversation.user_id or "")
    ids = {row.id: row.id for row in rows}
    noted = import_of(conversation.metadata, format).get("id")
    if not isinstance(noted, str) or tail_of(format, *owner, noted) != tail_in(conversation.id):
        return conversation.id, ids
    tails = tails_of(format, *owner, noted)
    for row in rows:
        id = import_of(row.metadata, format).get("id")
        if isinstance(id, str) and tails(id) == tail_in(row.id):
            ids[row.id] = id
    return noted, ids


def source_title(conversation: ConversationRow, format: str) -> str | None:
    """The title at the source if ours is the beginning of it."""
    whole, title = import_of(conversation.metadata, format).get("title"), conversation.title
    return whole if title and isinstance(whole, str) and whole.startswith(title) else title


def source_role(row: MessageRow, noted: Mapping[str, Any]) -> str:
    """The role at the source if it is one that we do not have."""
    role = noted.get("role")
    return role if isinstance(role, str) and role not in ROLES else row.role
