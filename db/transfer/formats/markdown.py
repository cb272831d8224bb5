"""Markdown, to be read by people: the active branch, a heading for each message."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ...chat_parts import call_in, result_in
from ...models import COMPLETED, ConversationRow, MessageRow

UNTITLED = "Untitled conversation"


def write(conversation: ConversationRow, rows: Sequence[MessageRow]) -> str:
    """A conversation, whose own Markdown stays as it is."""
    title = " ".join((conversation.title or UNTITLED).split())
    blocks = [f"# {title}", f"*{conversation.created_at}*"]
    for row in rows:
        cut = "" if row.status == COMPLETED else f" ({row.status.replace('_', ' ')})"
        blocks.append(f"## {row.role.capitalize()}{cut}")
        blocks += _blocks(row.content)
    return "\n\n".join(blocks) + "\n"


def _blocks(content: str | list[Any]) -> Iterator[str]:
    for part in [content] if isinstance(content, str) else content:
        if isinstance(part, str):
            yield part
        elif call := call_in(part):
            yield _fenced(call.arguments, f"Call of `{call.name}`:")
        elif result := result_in(part):
            yield _fenced(result.text, "Result:")
        elif isinstance(part, dict) and isinstance(text := part.get("text"), str):
            is_code, is_thought = part.get("type") == "code", part.get("type") == "reasoning"
            quoted = "\n".join(f"> {line}" for line in text.splitlines())
            yield _fenced(text) if is_code else quoted if is_thought else text
        else:
            kind = part.get("type") if isinstance(part, dict) else None
            yield f"*[{kind or json.dumps(part, ensure_ascii=False)}]*"


def _fenced(text: str, before: str = "") -> str:
    """The text in a fence that it does not have itself."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{before}\n\n{fence}\n{text}\n{fence}".strip()
