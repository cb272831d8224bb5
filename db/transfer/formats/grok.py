"""Grok: `prod-grok-backend.json`, an object whose `conversations` have their responses."""

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
    add_to,
    as_object,
    as_text,
    id_at,
    imported,
    objects_in,
    without,
)
from ..values import milliseconds

NAME = "grok"


def _matches(value: Object) -> bool:
    return isinstance(value.get("conversation"), dict) and "responses" in value


def _id_of(value: Object) -> str | None:
    return as_text(as_object(value.get("conversation")).get("id"))


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = as_object(values[0].get("conversation"))
    nodes: dict[str, Node] = {}
    previous: str | None = None
    for number, each in enumerate(objects_in(values[0].get("responses"))):
        response = as_object(each.get("response")) or each
        id = as_text(response.get("_id")) or id_at(number)
        parent = previous
        if "parent_response_id" in response:
            parent = as_text(response["parent_response_id"])
        time = milliseconds(response.get("create_time"))
        node = Node(parent, time, None, _said(id, response, notes))
        previous = add_to(nodes, id, node, notes)
    return Parsed(
        nodes,
        title=source.get("title"),
        created=milliseconds(source.get("create_time")),
        updated=milliseconds(source.get("modify_time")),
        leaf=as_text(source.get("leaf_response_id")),
        is_pinned=source.get("starred") is True,
        rest=without(source, "id", "title", "create_time", "modify_time"),
    )


def _said(id: str, response: Object, notes: Notes) -> Said | None:
    text = response.get("message")
    if not isinstance(text, str) or not text.strip():
        notes.skip(EMPTY)
        return None
    is_users = str(response.get("sender")).lower() in ("human", "user")
    rest = without(
        response, "_id", "conversation_id", "message", "create_time", "parent_response_id"
    )
    status = INCOMPLETE if response.get("partial") is True else COMPLETED
    return Said("user" if is_users else "assistant", text, status, imported(NAME, id, rest))


FORMAT = Format(NAME, _matches, _id_of, _read)
