"""Open WebUI: `chat-export-….json`, an array of chats, or one older chat without its frame."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ...models import COMPLETED, INCOMPLETE, ConversationRow, MessageRow
from ..parsed import (
    EMPTY,
    Format,
    Node,
    Notes,
    Object,
    Parsed,
    Said,
    add_to,
    as_list,
    as_object,
    as_text,
    id_at,
    import_of,
    imported,
    is_blank,
    objects_in,
    parts_in,
    plain,
    text_part,
    without,
)
from ..source_ids import source_ids, source_role, source_title
from ..values import milliseconds

NAME = "openwebui"
ROLES = {"user", "assistant", "system", "tool"}
MAX_TAG_LENGTH = 64


def _matches(value: Object) -> bool:
    chat = as_object(value.get("chat"))
    history = as_object(as_object(value.get("history")).get("messages"))
    return "history" in chat or "messages" in chat or bool(history)


def _id_of(value: Object) -> str | None:
    return as_text(value.get("id"))


def _user_of(value: Object) -> str | None:
    return as_text(value.get("user_id"))


# --- Reading


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = values[0]
    chat = source["chat"] if isinstance(source.get("chat"), dict) else source
    history = as_object(chat.get("history"))
    nodes: dict[str, Node] = {}
    if "messages" in history:
        for id, value in as_object(history["messages"]).items():
            message = as_object(value)
            nodes[id] = _node(id, as_text(message.get("parentId")), message, notes)
    else:  # the list is a copy of the active line
        previous: str | None = None
        for number, message in enumerate(objects_in(chat.get("messages"))):
            id = as_text(message.get("id")) or id_at(number)
            previous = add_to(nodes, id, _node(id, previous, message, notes), notes)
    tags = _tags(as_object(source.get("meta")).get("tags") or chat.get("tags"))
    rest = without(
        source,
        *("id", "title", "chat", "created_at", "updated_at", "archived", "pinned"),
        *("history", "messages", "timestamp"),
    )
    return Parsed(
        nodes,
        title=source.get("title") or chat.get("title"),
        created=milliseconds(source.get("created_at") or chat.get("timestamp")),
        updated=milliseconds(source.get("updated_at")),
        leaf=as_text(history.get("currentId")) or as_text(history.get("current_id")),
        is_archived=source.get("archived") is True,
        is_pinned=source.get("pinned") is True,
        tags=tags,
        rest={**rest, **({} if chat is source else {"chat": _frame(chat)})},
    )


def _frame(chat: Object) -> Object:
    return without(chat, "id", "title", "history", "messages", "timestamp")


def _tags(value: Any) -> list[str]:
    """Those that Confab can have. All are in the metadata."""
    names = [each.get("name") if isinstance(each, dict) else each for each in as_list(value)]
    stripped = [name.strip() for name in names if isinstance(name, str)]
    fitting = [name for name in stripped if 0 < len(name) <= MAX_TAG_LENGTH]
    return list(dict.fromkeys(fitting))


def _node(id: str, parent: str | None, message: Object, notes: Notes) -> Node:
    return Node(parent, milliseconds(message.get("timestamp")), None, _said(id, message, notes))


def _said(id: str, message: Object, notes: Notes) -> Said | None:
    error = message.get("error")
    parts = parts_in(message.get("content"))
    if not parts and error:
        told = error.get("content") if isinstance(error, dict) else error
        parts = [text_part(told)] if isinstance(told, str) and told else []
    for file in objects_in(message.get("files")):
        parts = [*parts, {"type": "file", **file}]
        notes.miss_attachments(not str(file.get("url") or "").startswith("data:"))
    content = plain(parts)
    if is_blank(content):
        notes.skip(EMPTY)
        return None
    role = message.get("role")
    rest = without(
        message, "id", "parentId", "childrenIds", "role", "content", "timestamp", "files"
    )
    if role not in ROLES:
        rest["role"], role = role, "assistant"
    is_whole = not error and message.get("done") is not False
    return Said(str(role), content, COMPLETED if is_whole else INCOMPLETE, imported(NAME, id, rest))


FORMAT = Format(NAME, _matches, _id_of, _read, user_at_the_source=_user_of)


# --- Writing


def write(conversation: ConversationRow, rows: Sequence[MessageRow]) -> Object:
    """A chat of the array, with the whole tree and a copy of the active line."""
    source = import_of(conversation.metadata, NAME)
    chat_id, ids = source_ids(conversation, rows, NAME)
    messages: dict[str, Object] = {}
    for row in rows:
        id, parent = ids[row.id], ids.get(row.parent_id or "")
        messages[id] = _message(row, id, parent)
        if parent is not None:
            messages[parent]["childrenIds"].append(id)
    leaf = ids.get(conversation.last_message_id or "")
    line: list[Object] = []
    at = leaf
    while at is not None:
        line.append(messages[at])
        at = messages[at]["parentId"]
    title = source_title(conversation, NAME) or "New Chat"
    created = datetime.fromisoformat(conversation.created_at).timestamp()
    return {
        **without(source, "format", "id", "title", "chat", "user_id", "meta"),
        "id": chat_id,
        "user_id": conversation.user_id or "",
        "title": title,
        "chat": {
            "models": [],
            **as_object(source.get("chat")),
            "title": title,
            "timestamp": round(created * 1000),
            "history": {"currentId": leaf, "messages": messages},
            "messages": line[::-1],
        },
        "created_at": created,
        "updated_at": datetime.fromisoformat(conversation.updated_at).timestamp(),
        "archived": bool(conversation.is_archived),
        "pinned": bool(conversation.is_pinned),
        "meta": {"tags": conversation.tags or []},
    }


def _message(row: MessageRow, id: str, parent: str | None) -> Object:
    rest = import_of(row.metadata, NAME)
    content: Any = row.content
    files: list[Any] = []
    if isinstance(content, list) and rest:
        files = [part for part in content if "url" in as_object(part)]
        said = [part for part in content if part not in files]
        content = plain(said) if len(said) == 1 else said or ""
    return {
        **({} if row.status == COMPLETED else {"done": False}),
        **without(rest, "format", "id", "parent", "time"),
        "id": id,
        "parentId": parent,
        "childrenIds": [],
        "role": source_role(row, rest),
        "content": content,
        "timestamp": datetime.fromisoformat(row.created_at).timestamp(),
        **({"files": files} if files else {}),
    }
