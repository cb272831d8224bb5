"""llama.cpp's web interface: JSON lines, a session and then its messages, which are a tree."""

from typing import Any

from ..parsed import (
    EMPTY,
    STRUCTURAL,
    Format,
    Node,
    Notes,
    Object,
    Parsed,
    Said,
    Unreadable,
    add_to,
    as_object,
    as_text,
    imported,
    without,
)
from ..values import milliseconds

NAME = "llamacpp"
ROLES = {"system", "user", "assistant", "tool"}


def _begins(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "session"


def _id_of(value: Object) -> str | None:
    return as_text(value.get("id"))


def _read(values: list[Any], notes: Notes) -> Parsed:
    source, *lines = values
    if not _begins(source):
        raise Unreadable("it has no line of its own, before its messages")
    nodes: dict[str, Node] = {}
    for line in lines:
        message = as_object(as_object(line).get("message"))
        if "id" not in message:
            notes.skip(STRUCTURAL)
            continue
        id, parent = str(message["id"]), message.get("parent")
        node = Node(None if parent is None else str(parent), milliseconds(message.get("timestamp")))
        if message.get("type") == "root":
            notes.skip(STRUCTURAL)
        else:
            node.said = _said(id, message, notes)
        add_to(nodes, id, node, notes)
    leaf = source.get("currNode")
    return Parsed(
        nodes,
        title=source.get("name"),
        created=milliseconds(source.get("createdAt")),
        updated=milliseconds(source.get("lastModified")),
        leaf=None if leaf is None else str(leaf),
        rest=without(source, "type", "id", "name", "createdAt", "lastModified", "currNode"),
    )


def _said(id: str, message: Object, notes: Notes) -> Said | None:
    content, role = message.get("content"), message.get("role")
    if not isinstance(content, str) or not content.strip():
        notes.skip(EMPTY)
        return None
    rest = without(
        message, "id", "convId", "role", "content", "timestamp", "parent", "children", "type"
    )
    if role not in ROLES:
        rest["role"], role = role, "assistant"
    return Said(str(role), content, metadata=imported(NAME, id, rest))


FORMAT = Format(NAME, _begins, _id_of, _read, _begins)
