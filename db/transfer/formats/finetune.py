"""Fine-tuning JSON lines, as OpenAI's: `{"messages": […]}`, a conversation a line, without ids."""

from collections.abc import Iterator, Sequence
from typing import Any

from ... import chat_messages
from ...models import COMPLETED, MessageRow
from ..parsed import (
    EMPTY,
    Format,
    Node,
    Notes,
    Object,
    Parsed,
    Said,
    as_list,
    as_object,
    as_text,
    imported,
    objects_in,
    parts_in,
    plain,
    without,
)

NAME = "finetune"
ROLES = {"system": "system", "developer": "system", "user": "user", "function": "tool"} | {
    role: role for role in ("assistant", "tool")
}


def _matches(value: Object) -> bool:
    messages = as_list(value.get("messages"))
    return bool(messages) and "role" in as_object(messages[0])


def _id_of(value: Object) -> str | None:
    return as_text(value.get("id"))


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = values[0]
    nodes: dict[str, Node] = {}
    for number, message in enumerate(objects_in(source.get("messages"))):
        parent = str(number - 1) if number else None
        nodes[str(number)] = Node(parent, said=_said(message, notes))
    return Parsed(nodes, rest=without(source, "id", "messages"))


def _said(message: Object, notes: Notes) -> Said | None:
    given, role = message.get("content"), message.get("role")
    parts = parts_in(given)
    names = ("role", "content", "tool_calls", "tool_call_id", "function_call", "refusal")
    rest = without(message, *names)
    if role == "tool" or "tool_call_id" in message:
        call_id = message.get("tool_call_id")
        parts = [{"type": "tool_result", "call_id": call_id, "output": given, "is_error": False}]
    if refusal := as_text(message.get("refusal")):
        parts = [*parts, {"type": "refusal", "refusal": refusal}]
    old = message.get("function_call")
    for call in [*objects_in(message.get("tool_calls")), *([{"function": old}] if old else [])]:
        function = as_object(call.get("function"))
        told = {"id": call.get("id"), "name": function.get("name")}
        parts = [*parts, {"type": "tool_call", **told, "arguments": function.get("arguments")}]
    if not parts:
        notes.skip(EMPTY)
        return None
    if role not in ROLES or role != ROLES[role]:
        rest["role"] = role
    return Said(ROLES.get(str(role), "user"), plain(parts), metadata=imported(NAME, None, rest))


FORMAT = Format(NAME, _matches, _id_of, _read)


def write(rows: Sequence[MessageRow]) -> Iterator[Object]:
    """What a model would be told of a branch, as far as it is completed. Nothing makes no line."""
    told, _ = chat_messages.told([row for row in rows if row.status == COMPLETED])
    if told:
        yield {"messages": [each.message for each in told]}
