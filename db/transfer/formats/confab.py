"""Confab's own JSON lines: a conversation as the API shows it, then its messages, oldest first.

Nothing is lost in it, and it is read back with its ids and times.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from ...erasure import conversation_record, message_record
from ...models import COMPLETED, INCOMPLETE, ITEM, ConversationRow, Item, MessageRow
from ..parsed import (
    Format,
    Node,
    Notes,
    Object,
    Owner,
    Parsed,
    Said,
    Unreadable,
    add_to,
    as_text,
    parts_in,
)
from ..values import milliseconds

NAME = "confab"
# As in requests.
MAX_NAME_LENGTH, MAX_CLIENT_ID_LENGTH, MAX_TAG_LENGTH = 255, 64, 64
T = TypeVar("T")
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
    names = {name: _as(str, source.get(name), name) for name in ("project_id", "user_id", "key")}
    for name, text in names.items():
        if text and len(text) > MAX_NAME_LENGTH:
            raise Unreadable(f"its {name} is too long")
    nodes: dict[str, Node] = {}
    for message in messages:
        if not isinstance(message, dict) or message.get("type") != "message":
            raise Unreadable("it has a line that is no message")
        content, id = message.get("content"), as_text(message.get("id"))
        if isinstance(content, list):
            content = parts_in(content)
        if id is None or message.get("role") not in ROLES or not isinstance(content, str | list):
            raise Unreadable("it has a message without id, role or content")
        client_id = _as(str, message.get("client_id"), "client_id")
        if client_id is not None and len(client_id) > MAX_CLIENT_ID_LENGTH:
            raise Unreadable("a client_id in it is too long")
        node = Node(
            as_text(message.get("parent_id")),
            milliseconds(message.get("created_at")),
            milliseconds(message.get("updated_at")),
            Said(
                message["role"],
                Item(content) if message.get("content_type") == ITEM else content,
                COMPLETED if message.get("status") == COMPLETED else INCOMPLETE,
                _as(dict, message.get("metadata"), "metadata"),
                client_id,
            ),
        )
        add_to(nodes, id, node, notes)
    tags = _as(list, source.get("tags"), "tags") or []
    if not all(isinstance(tag, str) and 0 < len(tag) <= MAX_TAG_LENGTH for tag in tags):
        raise Unreadable("a tag of it is no text, too long or too short")
    return Parsed(
        nodes,
        title=_as(str, source.get("title"), "title"),
        created=milliseconds(source.get("created_at")),
        updated=milliseconds(source.get("updated_at")),
        leaf=as_text(source.get("last_message_id")),
        is_archived=source.get("is_archived") is True,
        is_pinned=source.get("is_pinned") is True,
        is_held=source.get("is_held") is True,
        key=names["key"] or None,
        tags=list(dict.fromkeys(tags)),
        metadata=_as(dict, source.get("metadata"), "metadata"),
        is_exact=True,
    )


def _as(kind: type[T], value: Any, name: str) -> T | None:
    """The value, which may be null."""
    if value is None or isinstance(value, kind):
        return value
    raise Unreadable(f"{name} in it is of another type than ever")


def write(conversation: ConversationRow, rows: Sequence[MessageRow]) -> Iterator[Object]:
    """The conversation, and all its messages. A single item says that it is one."""
    yield conversation_record(conversation)
    for row in rows:
        is_item = isinstance(row.content, Item)
        yield message_record(row) | ({"content_type": ITEM} if is_item else {})


FORMAT = Format(NAME, _begins, _id_of, _read, _begins, _owner_of)
