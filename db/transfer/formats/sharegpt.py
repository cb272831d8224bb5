"""ShareGPT: `{"conversations": [{"from", "value"}]}`, a conversation an element or a line."""

import json
from typing import Any

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
    without,
)

NAME = "sharegpt"
ROLES = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant",
    "chatgpt": "assistant", "assistant": "assistant", "bing": "assistant", "bard": "assistant",
    "function_call": "assistant", "tool": "tool", "observation": "tool",
}  # fmt: skip


def _matches(value: Object) -> bool:
    messages = as_list(value.get("conversations"))
    return bool(messages) and "from" in as_object(messages[0])


def _id_of(value: Object) -> str | None:
    return as_text(value.get("id"))


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = values[0]
    nodes: dict[str, Node] = {}
    call_id = ""
    for number, message in enumerate(objects_in(source.get("conversations"))):
        id, said_by, value = str(number), str(message.get("from")), as_text(message.get("value"))
        node = nodes[id] = Node(str(number - 1) if number else None)
        if value is None or not value.strip():
            notes.skip(EMPTY)
            continue
        content: Any = value
        if said_by == "function_call" and (call := _call(value)):
            call_id = id
            content = [{"type": "tool_call", "id": id, **call}]
        elif said_by == "observation" and call_id:
            result = {"call_id": call_id, "output": value, "is_error": False}
            content = [{"type": "tool_result", **result}]
        rest = {"from": said_by, **without(message, "from", "value")}
        role = ROLES.get(said_by, "user")
        node.said = Said(role, content, metadata=imported(NAME, None, rest))
    return Parsed(nodes, rest=without(source, "id", "conversations"))


def _call(value: str) -> Object | None:
    """The name and the arguments of a call that is written as JSON."""
    try:
        call = as_object(json.loads(value))
    except (ValueError, RecursionError):
        return None
    return {"name": call["name"], "arguments": call.get("arguments")} if "name" in call else None


FORMAT = Format(NAME, _matches, _id_of, _read)
