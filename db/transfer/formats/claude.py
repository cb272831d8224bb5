"""Claude.ai: `conversations.json`, or one conversation as its web API gives it."""

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
    as_object,
    as_text,
    id_at,
    imported,
    is_blank,
    objects_in,
    parts_in,
    plain,
    text_part,
    without,
)
from ..values import milliseconds

NAME = "claude"


def _matches(value: Object) -> bool:
    return "chat_messages" in value


def _id_of(value: Object) -> str | None:
    return as_text(value.get("uuid"))


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = values[0]
    nodes: dict[str, Node] = {}
    previous: str | None = None
    for number, message in enumerate(objects_in(source.get("chat_messages"))):
        id = as_text(message.get("uuid")) or id_at(number)
        parent = previous
        if "parent_message_uuid" in message:  # older exports have none
            parent = as_text(message["parent_message_uuid"])
        node = Node(
            parent,
            milliseconds(message.get("created_at")),
            milliseconds(message.get("updated_at")),
            _said(id, message, notes),
        )
        previous = add_to(nodes, id, node, notes)
    return Parsed(
        nodes,
        title=source.get("name"),
        created=milliseconds(source.get("created_at")),
        updated=milliseconds(source.get("updated_at")),
        leaf=as_text(source.get("current_leaf_message_uuid")),
        is_pinned=source.get("is_starred") is True,
        rest=without(
            source,
            *("uuid", "name", "created_at", "updated_at", "chat_messages"),
            "current_leaf_message_uuid",
        ),
    )


def _said(id: str, message: Object, notes: Notes) -> Said | None:
    parts = _blocks(id, parts_in(message.get("content")))
    text = as_text(message.get("text"))
    if not parts and text:
        parts = [text_part(text)]
    for attachment in objects_in(message.get("attachments")):
        # A long text that was pasted is here only.
        part = {"type": "file", "name": attachment.get("file_name")}
        pasted = as_text(attachment.get("extracted_content"))
        notes.miss_attachments(not pasted)
        more = without(attachment, "file_name", "extracted_content")
        parts.append({**more, **part, **({"text": pasted} if pasted else {})})
    for file in objects_in(message.get("files")):
        notes.miss_attachments(1)
        named = {"type": "file", "id": file.get("file_uuid"), "name": file.get("file_name")}
        parts.append({**without(file, "file_uuid", "file_name"), **without(named)})
    content = plain(parts)
    if is_blank(content):
        notes.skip(EMPTY)
        return None
    role = "assistant" if message.get("sender") == "assistant" else "user"
    rest = without(
        message,
        *("uuid", "sender", "text", "content", "created_at", "updated_at"),
        *("parent_message_uuid", "attachments", "files"),
    )
    return Said(role, content, metadata=imported(NAME, id, rest))


def _blocks(id: str, blocks: list[Object]) -> list[Any]:
    """The parts of a message. A call without an id gets one, and so does its result."""
    parts: list[Any] = []
    call_id = ""
    for number, block in enumerate(blocks):
        kind = block.get("type")
        if kind == "text":
            if text := as_text(block.get("text")):
                parts.append(text_part(text, **_rest(block, "text")))
        elif kind == "thinking":
            thinking = as_text(block.get("thinking")) or ""
            parts.append({**_rest(block, "thinking"), "type": "reasoning", "text": thinking})
        elif kind == "tool_use":
            call_id = as_text(block.get("id")) or f"{id}:{number}"
            call = {"id": call_id, "name": block.get("name"), "arguments": block.get("input")}
            parts.append({**_rest(block, "id", "name", "input"), "type": "tool_call", **call})
        elif kind == "tool_result":
            result = {
                "call_id": as_text(block.get("tool_use_id")) or call_id,
                "name": block.get("name"),
                "output": block.get("content"),
                "is_error": block.get("is_error") is True,
            }
            rest = _rest(block, "tool_use_id", "name", "content", "is_error")
            parts.append({**rest, "type": "tool_result", **result})
        else:
            parts.append(block)
    return parts


def _rest(block: Object, *names: str) -> Object:
    """What else is in a block but its times and flags, which most have and which are unset."""
    rest = without(as_object(block), "type", "start_timestamp", "stop_timestamp", "flags", *names)
    return {name: it for name, it in rest.items() if it is not False}


FORMAT = Format(NAME, _matches, _id_of, _read)
