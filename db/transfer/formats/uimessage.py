"""Messages of Vercel's AI SDK: a list of them, or `{id, messages}`. They are a line."""

from typing import Any

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
    imported,
    objects_in,
    parts_in,
    without,
)
from ..values import milliseconds

NAME = "uimessage"
ROLES = {"system", "user", "assistant"}


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value and isinstance(value.get("parts"), list)


def _matches(value: Object) -> bool:
    messages = as_list(value.get("messages"))
    return _is_message(value) or bool(messages and _is_message(messages[0]))


def _begins(value: Any) -> bool:
    return not _is_message(value)  # messages belong to the one conversation of their file


def _id_of(value: Object) -> str | None:
    return as_text(value.get("id"))


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = {} if _is_message(values[0]) else values[0]
    nodes: dict[str, Node] = {}
    previous: str | None = None
    for number, message in enumerate(objects_in(source.get("messages", values))):
        id = as_text(message.get("id")) or id_at(number)
        metadata = as_object(message.get("metadata"))
        made = message.get("createdAt") or metadata.get("createdAt")
        node = Node(previous, milliseconds(made))
        parts = parts_in(message.get("parts"))
        if parts:
            rest = without(message, "id", "role", "parts", "metadata")
            role = message.get("role")
            if role not in ROLES:
                rest["role"], role = role, "assistant"
            own = imported(NAME, id, rest, without(metadata))
            node.said = Said(str(role), parts, metadata=own)
        else:
            notes.skip(EMPTY)
        previous = add_to(nodes, id, node, notes)
    return Parsed(
        nodes,
        title=source.get("title"),
        created=milliseconds(source.get("createdAt")),
        rest=without(source, "id", "title", "createdAt", "messages"),
    )


FORMAT = Format(NAME, _matches, _id_of, _read, _begins)
