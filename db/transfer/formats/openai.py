"""OpenAI's conversations and items as JSON lines: a line for the conversation, then its items.

Items have no times, so they are a millisecond apart. They are a line: the active branch.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ... import openai_ids
from ...models import COMPLETED, IN_PROGRESS, INCOMPLETE, ConversationRow, Item, MessageRow
from ..imported_ids import own_id
from ..parsed import (
    EMPTY,
    STRUCTURAL,
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
    parts_in,
    plain,
    without,
)
from ..source_ids import source_ids, source_role
from ..values import milliseconds

NAME = "openai"
CONVERSATION = "conversation"
ROLES = {"system", "user", "assistant", "tool"}
ITEM = "item"  # in a message's metadata: the fields of the item that have no column


def _begins(value: Any) -> bool:
    return isinstance(value, dict) and (
        value.get("object") == CONVERSATION or {CONVERSATION, "items"} <= value.keys()
    )


def _head(value: Object) -> Object:
    return as_object(value.get(CONVERSATION)) or value


def _id_of(value: Object) -> str | None:
    return as_text(_head(value).get("id"))


# --- Reading


def _read(values: list[Any], notes: Notes) -> Parsed:
    head, items = _head(values[0]), values[1:]
    if isinstance(values[0].get("items"), list):
        items = values[0]["items"] + items
    metadata = as_object(head.get("metadata"))
    nodes: dict[str, Node] = {}
    previous: str | None = None
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            notes.skip(STRUCTURAL)
            continue
        id = as_text(item.get("id")) or id_at(number)
        previous = add_to(nodes, id, Node(previous, said=_said(id, item, notes)), notes)
    return Parsed(
        nodes,
        title=head.get("title") or metadata.get("title"),
        created=milliseconds(head.get("created_at")),
        metadata=without(metadata, "title"),
        leaf=previous,
        rest=without(head, "id", "object", "created_at", "metadata", "title", "items"),
    )


def _said(id: str, item: Object, notes: Notes) -> Said | None:
    kind = item.get("type")
    status = INCOMPLETE if item.get("status") in (IN_PROGRESS, INCOMPLETE) else COMPLETED
    if kind not in (None, "message") or "role" not in item:
        is_tool = str(kind).endswith("_output") or kind == "mcp_approval_response"
        role = "tool" if is_tool else "assistant"
        if own_id(id):  # it is the message's, and not a part of the item
            item = {name: it for name, it in item.items() if name != "id"}
        return Said(role, Item([item]), status, imported(NAME, id, {}))
    content = plain([_without_defaults(part) for part in parts_in(item.get("content"))])
    if not content:
        notes.skip(EMPTY)
        return None
    own = without(item, "id", "type", "status", "role", "content")
    role = item["role"]
    if role not in ROLES:
        own["role"] = role
        role = "system" if role == "developer" else "user"
    return Said(role, content, status, imported(NAME, id, {}, {ITEM: own} if own else None))


def _without_defaults(part: Object) -> Object:
    """A part without the empty lists that each text of an assistant has."""
    return without(part) if part.get("type") == "output_text" else part


FORMAT = Format(NAME, _begins, _id_of, _read, _begins)


# --- Writing


def write(conversation: ConversationRow, rows: Sequence[MessageRow]) -> Iterator[Object]:
    """The conversation's line, and an item for each message of a branch."""
    id, ids = source_ids(conversation, rows, NAME)
    metadata = without(conversation.metadata or {}, "import")
    title = {"title": conversation.title} if conversation.title else {}
    yield {
        "object": CONVERSATION,
        "id": openai_ids.shown_id(openai_ids.CONVERSATION, id) if id == conversation.id else id,
        "created_at": int(datetime.fromisoformat(conversation.created_at).timestamp()),
        "metadata": {**metadata, **title},
    }
    for row in rows:
        yield _item(row, ids[row.id])


def _item(row: MessageRow, id: str) -> Object:
    if isinstance(row.content, Item):
        (item,) = row.content
        return {**item, "id": openai_ids.item_id(str(item.get("type")), id) if id == row.id else id}
    more = as_object((row.metadata or {}).get(ITEM))
    return {
        **more,
        "type": "message",
        "id": openai_ids.item_id("message", id) if id == row.id else id,
        "status": INCOMPLETE if row.status == IN_PROGRESS else row.status,
        "role": source_role(row, more),
        "content": _parts(row),
    }


def _parts(row: MessageRow) -> list[Any]:
    if not isinstance(row.content, str):
        return row.content
    if row.role == "assistant":
        text = {"type": "output_text", "text": row.content, "annotations": [], "logprobs": []}
        return [text]
    return [{"type": "input_text", "text": row.content}]
