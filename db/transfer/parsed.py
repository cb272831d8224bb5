"""What a format makes of one conversation of an export, before it is a tree of rows.

A format is a module of `formats/`. It says which values it knows, and reads them:

    FORMAT = Format("claude", matches, id_of, read)
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..conversations import IMPORT
from ..models import COMPLETED, Content

STRUCTURAL, EMPTY, HIDDEN = "structural", "empty", "hidden"  # why a node is no message
REPEATED = "repeated"  # ids of messages that others have, too

Object = dict[str, Any]


# What is something even if it is empty: 0, False and "".
NUMBER_OR_TEXT = (int, float, str)


class Unreadable(Exception):
    """A part of a sentence that says why a conversation or a file cannot be read."""


class NotJson(Unreadable):
    """It is no JSON from its first character on, so it may be a side file."""


class Said(NamedTuple):
    """A message, as it is to be stored."""

    role: str
    content: Content
    status: str = COMPLETED
    metadata: Object | None = None
    client_id: str | None = None


@dataclass(slots=True)
class Node:
    """A place in the source's tree. Times are milliseconds, or None if the source has none."""

    parent: str | None
    time: int | None = None
    updated: int | None = None
    said: Said | None = None  # None if it is no message


@dataclass(slots=True)
class Parsed:
    """A conversation of an export, with its nodes in the order of the file."""

    nodes: dict[str, Node]
    title: Any = None
    created: int | None = None
    updated: int | None = None
    leaf: str | None = None  # as the source says, which may be wrong
    is_archived: bool = False
    is_pinned: bool = False
    is_held: bool = False
    key: str | None = None
    tags: list[str] = field(default_factory=list)
    metadata: Object | None = field(default_factory=dict)  # the conversation's own
    rest: Object = field(default_factory=dict)  # what Confab has no column for
    is_exact: bool = False  # it was ours: its ids and times are kept as they are


class Owner(NamedTuple):
    """Whose conversations they become. "" is no user."""

    project_id: str
    user_id: str


@dataclass(slots=True)
class Notes:
    """What the formats are told, and what they note beside the conversations."""

    keeps_hidden: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def skip(self, reason: str) -> None:
        self.counts[reason] += 1

    def miss_attachments(self, count: int) -> None:
        """So many files are named and not in the export."""
        self.counts["attachments"] += count


def _not_told(value: Object) -> None:
    return None


class Format(NamedTuple):
    """A format of exports. `values` are a conversation's: one, or a line and those behind it."""

    name: str
    matches: Callable[[Object], bool]  # whether the first value of a file is of this format
    id_of: Callable[[Object], str | None]  # the source's id of a conversation
    read: Callable[[list[Any], Notes], Parsed]
    # Whether a value begins a conversation. None if each value is one.
    begins: Callable[[Any], bool] | None = None
    owner_of: Callable[[Object], Owner | None] = _not_told
    user_at_the_source: Callable[[Object], str | None] = _not_told


# --- What formats have in common


def as_object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def objects_in(value: Any) -> list[Object]:
    return [each for each in as_list(value) if isinstance(each, dict)]


def without(value: Mapping[str, Any], *names: str) -> Object:
    """The other fields, as far as there is something in them."""
    return {
        name: it
        for name, it in value.items()
        if (it or isinstance(it, NUMBER_OR_TEXT)) and name not in names
    }


def imported(format: str, id: str | None, rest: Object, own: Object | None = None) -> Object:
    """The metadata of a message: what the source says, and what is the message's own."""
    note = {**rest, "format": format, "id": id} if id else {**rest, "format": format}
    return {**own, IMPORT: note} if own else {IMPORT: note}


def import_of(metadata: Object | None, format: str) -> Object:
    """What an import of that format has noted, or {}."""
    found = (metadata or {}).get(IMPORT)
    return found if isinstance(found, dict) and found.get("format") == format else {}


def add_to(nodes: dict[str, Node], id: str, node: Node, notes: Notes) -> str:
    """Add a node, and return the id that it has there: another one if the id is not free.

    If it says the same as the one that has the id, it is that one.
    """
    if id in nodes:
        notes.counts[REPEATED] += 1
        if nodes[id].said == node.said:
            return id
        number = 2
        while (other := f"{id}#{number}") in nodes:
            number += 1
        id = other
    nodes[id] = node
    return id


def id_at(number: int) -> str:
    """The id of a message without one. No product has such ids."""
    return f"#{number}"


def parts_in(value: Any) -> list[Object]:
    """The parts of a content: a bare text is one, and null is none."""
    given = value if isinstance(value, list) else [value] if value else []
    return [_part_of(part) for part in given if part is not None]


def _part_of(value: Any) -> Object:
    if isinstance(value, str):
        return text_part(value)
    return value if isinstance(value, dict) else {"type": "json", "json": value}


def text_part(text: str, **rest: Any) -> Object:
    return {"type": "text", "text": text, **rest}


def is_blank(content: Content) -> bool:
    """Whether a content says nothing."""
    return not (content.strip() if isinstance(content, str) else content)


def plain(parts: list[Any]) -> Content:
    """The parts, or their text if there is one part and it has nothing else."""
    match parts:
        case [{"type": "text" | "input_text" | "output_text", "text": str(text)} as part] if (
            not without(part, "type", "text")
        ):
            return text
    return parts
