"""LibreChat: one conversation a file, flat or, if it is *recursive*, message within message."""

from collections.abc import Iterator
from typing import Any

from ...models import COMPLETED, INCOMPLETE
from ..parsed import (
    EMPTY,
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

NAME = "librechat"


def _matches(value: Object) -> bool:
    return "conversationId" in value and ("messages" in value or "messagesTree" in value)


def _id_of(value: Object) -> str | None:
    return as_text(value.get("conversationId"))


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = values[0]
    nodes: dict[str, Node] = {}
    messages = objects_in(source.get("messagesTree") or source.get("messages"))
    for id, message, outer in _flat(messages):
        parent = as_text(message.get("parentMessageId")) or outer
        node = Node(
            parent,
            milliseconds(message.get("createdAt")),
            milliseconds(message.get("updatedAt")),
            _said(id, message, notes),
        )
        add_to(nodes, id, node, notes)
    if not nodes:
        raise Unreadable("it has no messages")
    return Parsed(
        nodes,
        title=source.get("title"),
        created=milliseconds(source.get("createdAt")),
        updated=milliseconds(source.get("updatedAt")),
        # `exportAt` is a time without a date, so it says nothing.
        rest=without(
            source,
            *("conversationId", "title", "createdAt", "updatedAt", "exportAt"),
            *("messages", "messagesTree", "branches", "recursive"),
        ),
    )


def _flat(messages: list[Object]) -> Iterator[tuple[str, Object, str | None]]:
    """Each message with its id and that of the one that it is in, if any, in the file's order."""
    number = 0
    waiting: list[tuple[Object, str | None]] = [(each, None) for each in reversed(messages)]
    while waiting:
        message, outer = waiting.pop()
        id = as_text(message.get("messageId")) or id_at(number)
        number += 1
        yield id, message, outer
        waiting += [(each, id) for each in reversed(objects_in(message.get("children")))]


def _said(id: str, message: Object, notes: Notes) -> Said | None:
    parts = [it for block in parts_in(message.get("content")) for it in _parts(block)]
    text = as_text(message.get("text"))
    if not parts and text:
        parts = [text_part(text)]
    for file in objects_in(message.get("files")):
        notes.miss_attachments(1)
        named = {"type": "file", "id": file.get("file_id"), "name": file.get("filename")}
        more = {} if "type" not in file else {"media_type": file["type"]}
        parts.append({**without(file, "file_id", "filename"), **without(named), **more})
    content = plain(parts)
    if is_blank(content):
        notes.skip(EMPTY)
        return None
    is_cut = message.get("error") is True or message.get("unfinished") is True
    rest = without(
        message,
        *("messageId", "conversationId", "parentMessageId", "createdAt", "updatedAt", "text"),
        *("content", "files", "children", "isCreatedByUser"),
    )
    rest = {name: it for name, it in rest.items() if it is not False}
    role = "user" if message.get("isCreatedByUser") is True else "assistant"
    return Said(role, content, INCOMPLETE if is_cut else COMPLETED, imported(NAME, id, rest))


def _parts(block: Object) -> list[Object]:
    """The parts of a block. A call that has its output is two of them."""
    match block:
        case {"type": "text", "text": {"value": str(text)} | str(text)}:
            return [{**without(block), **text_part(text)}] if text else []
        case {"type": "think"}:
            think = block.get("think")
            text = think if isinstance(think, str) else str(as_object(think).get("value") or "")
            return [{"type": "reasoning", "text": text}]
        case {"type": "tool_call", "tool_call": {"id": id} as call}:
            told = {"id": id, "name": call.get("name"), "arguments": call.get("args")}
            parts = [
                {
                    **without(call, "args", "output"),
                    "type": "tool_call",
                    **told,
                }
            ]
            if call.get("output") is not None:
                result = {"call_id": id, "name": call.get("name"), "output": call["output"]}
                parts.append({"type": "tool_result", **result, "is_error": False})
            return parts
    return [block]


FORMAT = Format(NAME, _matches, _id_of, _read)
