"""Confab's own JSON lines: a conversation as the API shows it, then its messages, oldest first.

Nothing is lost in it, and it is read back with its ids and times.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ...erasure import conversation_record, message_record
from ...models import COMPLETED, INCOMPLETE, ITEM, ConversationRow, Item, MessageRow
from ..parsed import Format, Node, Notes, Object, Owner, Parsed, Said, Unreadable, as_list, as_text
from ..values import milliseconds

NAME = "confab"
ROLES = {"system", "user", "assistant", "tool"}


def _begins(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "conversation" and "project_id" in value


def _id_of(value: Object) -> str | None:
    return as_text(value.get("id"))


def _owner_of(value: Object) -> Owner | None:
    return Owner(str(value.get("project_id")), as_text(value.get("user_id")) or "")


def _read(values: list[Any], notes: Notes) -> Parsed:
    source, *messages = values
    if not _begins(source):
        raise Unreadable("it has no line of its own, before its messages")
    if source.get("deleted_at") is not None:
        raise Unreadable("it was in the trash")
    nodes: dict[str, Node] = {}
    for message in messages:
        if not isinstance(message, dict) or message.get("type") != "message":
            raise Unreadable("it has a line that is no message")
        content, id = message.get("content"), as_text(message.get("id"))
        if id is None or message.get("role") not in ROLES or not isinstance(content, str | list):
            raise Unreadable("it has a message without id, role or content")
        nodes[id] = Node(
            as_text(message.get("parent_id")),
            milliseconds(message.get("created_at")),
            milliseconds(message.get("updated_at")),
            Said(
                message["role"],
                Item(content) if message.get("content_type") == ITEM else content,
                COMPLETED if message.get("status") == COMPLETED else INCOMPLETE,
                message.get("metadata"),
                message.get("client_id"),
            ),
        )
    return Parsed(
        nodes,
        title=source.get("title"),
        created=milliseconds(source.get("created_at")),
        updated=milliseconds(source.get("updated_at")),
        leaf=as_text(source.get("last_message_id")),
        is_archived=source.get("is_archived") is True,
        is_pinned=source.get("is_pinned") is True,
        is_held=source.get("is_held") is True,
        key=as_text(source.get("key")),
        tags=[tag for tag in as_list(source.get("tags")) if isinstance(tag, str)],
        metadata=source.get("metadata") or {},
        is_exact=True,
    )


def write(conversation: ConversationRow, rows: Sequence[MessageRow]) -> Iterator[Object]:
    """The conversation, and all its messages. A single item says that it is one."""
    yield conversation_record(conversation)
    for row in rows:
        is_item = isinstance(row.content, Item)
        yield message_record(row) | ({"content_type": ITEM} if is_item else {})


FORMAT = Format(NAME, _begins, _id_of, _read, _begins, _owner_of)
