"""Small exports of other products, and what an import makes of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from db import conversations, messages
from db.engine.database import database
from db.lists import newest
from db.models import ConversationRow, MessageRow
from db.scope import EVERYTHING
from db.transfer.arrivals import Options
from db.transfer.importing import Wanted, import_paths
from db.transfer.report import Report

SECONDS = 1_700_000_000


def write(path: Path, value: Any) -> Path:
    """A JSON file, or one of JSON lines for a tuple."""
    lines = value if isinstance(value, tuple) else (value,)
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return path


def bring_in(*paths: Path, **wanted: Any) -> Report:
    """Import the paths. `update`, `restore` and `is_dry` are options."""
    options = {name: wanted.pop(name) for name in ("update", "restore", "is_dry") if name in wanted}
    report = import_paths(paths, Wanted(**wanted, options=Options(**options)), lambda *done: None)
    database.close()
    return report


def conversation_of(title: str) -> ConversationRow:
    (found,) = [row for row in newest(EVERYTHING, limit=1000).rows if row.title == title]
    return found


def rows_of(conversation_id: str) -> list[MessageRow]:
    """All messages, of whatever branch, oldest first."""
    return messages.all_on(conversations.find(EVERYTHING, conversation_id), messages.ALL)


def tree_of(title: str) -> list[tuple[Any, ...]]:
    """Each message: its role, content, and the content of its parent; then that of the leaf."""
    conversation = conversation_of(title)
    rows = rows_of(conversation.id)
    contents: dict[str | None, Any] = {row.id: row.content for row in rows} | {None: None}
    tree = [(row.role, row.content, contents[row.parent_id]) for row in rows]
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert [row.position for row in rows] == sorted(row.position for row in rows)
    return [*tree, ("leaf", contents[conversation.last_message_id])]


def chatgpt(
    nodes: Mapping[str, Any], id: str = "c", title: str | None = "Planning", **fields: Any
) -> dict[str, Any]:
    """A conversation of ChatGPT. A node is `(parent, message or None)`."""
    mapping = {
        name: {"id": name, "parent": parent, "message": message}
        for name, (parent, message) in nodes.items()
    }
    return {
        "title": title, "conversation_id": id, "create_time": SECONDS, "mapping": mapping, **fields
    }  # fmt: skip


def said(text: Any, role: str = "user", time: float | None = None, **fields: Any) -> dict[str, Any]:
    """A message of ChatGPT: text, or a content."""
    content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
    return {
        "author": {"role": role}, "create_time": None if time is None else SECONDS + time,
        "content": content, "status": "finished_successfully", "metadata": {}, **fields,
    }  # fmt: skip


def line(*texts: str, id: str = "c", title: str = "Planning") -> dict[str, Any]:
    """A conversation of ChatGPT that is a line."""
    names: Sequence[str | None] = [None, *(f"n{number}" for number in range(len(texts)))]
    nodes = {
        f"n{number}": (names[number], said(text, ("user", "assistant")[number % 2], number))
        for number, text in enumerate(texts)
    }
    return chatgpt(nodes, id, title)
