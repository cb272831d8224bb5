"""ChatGPT: `conversations.json`, whose `mapping` is a tree. One node is one message."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from ...models import COMPLETED, INCOMPLETE, ConversationRow, MessageRow
from ..parsed import (
    EMPTY,
    HIDDEN,
    NUMBER_OR_TEXT,
    STRUCTURAL,
    Format,
    Node,
    Notes,
    Object,
    Parsed,
    Said,
    Unreadable,
    as_list,
    as_object,
    as_text,
    import_of,
    imported,
    objects_in,
    parts_in,
    without,
)
from ..source_ids import source_ids, source_role, source_title
from ..values import milliseconds

NAME = "chatgpt"
ROOT = "client-created-root"
AUTHOR = "author_"  # before its fields, in what is noted of a message
ROLES = {"system", "user", "assistant", "tool"}
# Fields of a message that have a column, or a part.
COLUMNS = {"id", "author", "create_time", "update_time", "content"}
# Fields of a message, with the values that are not noted.
USUAL = {"status": "finished_successfully", "recipient": "all", "weight": 1.0}
STATUSES = {"finished_successfully": COMPLETED, None: COMPLETED}
CUT_SHORT = {"interrupted", "max_tokens"}  # kinds of finish_details
HIDDEN_TYPES = {"user_editable_context", "model_editable_context"}
# Where a tool's content has its text.
RESULTS = {
    "execution_output": "text",
    "tether_browsing_display": "result",
    "tether_quote": "text",
    "sonic_webpage": "text",
    "system_error": "text",
}
PARTS = {
    "image_asset_pointer": "image",
    "audio_asset_pointer": "audio",
    "real_time_user_audio_video_asset_pointer": "audio",
    "audio_transcription": "text",
}


def _matches(value: Object) -> bool:
    return "mapping" in value or {"current_node", "create_time"} <= value.keys()


def _id_of(value: Object) -> str | None:
    return as_text(value.get("conversation_id")) or as_text(value.get("id"))


# --- Reading


def _read(values: list[Any], notes: Notes) -> Parsed:
    source = values[0]
    mapping = source.get("mapping")
    if not isinstance(mapping, dict):
        raise Unreadable("it has no mapping")
    nodes: dict[str, Node] = {}
    for id, value in mapping.items():
        entry = as_object(value)
        message, parent = entry.get("message"), as_text(entry.get("parent"))
        if isinstance(message, dict):
            nodes[id] = Node(
                parent,
                milliseconds(message.get("create_time")),
                milliseconds(message.get("update_time")),
                _said(id, parent, message, notes),
            )
        else:
            nodes[id] = Node(parent)
            notes.skip(STRUCTURAL)
    return Parsed(
        nodes,
        title=source.get("title"),
        created=milliseconds(source.get("create_time")),
        updated=milliseconds(source.get("update_time")),
        leaf=as_text(source.get("current_node")),
        is_archived=source.get("is_archived") is True,
        is_pinned=bool(source.get("pinned_time")),
        rest=without(
            source,
            *("title", "create_time", "update_time", "mapping", "current_node"),
            *("conversation_id", "id", "is_archived"),
        ),
    )


def _said(id: str, parent: str | None, message: Object, notes: Notes) -> Said | None:
    metadata, author = as_object(message.get("metadata")), as_object(message.get("author"))
    content = as_object(message.get("content"))
    kind = content.get("content_type")
    is_hidden = metadata.get("is_visually_hidden_from_conversation") is True or kind in HIDDEN_TYPES
    if is_hidden and not notes.keeps_hidden:
        notes.skip(HIDDEN)
        return None
    stored = _content(id, parent, message, content, author)
    if not stored:
        notes.skip(EMPTY)
        return None
    if attachments := metadata.get("attachments"):
        notes.miss_attachments(len(as_list(attachments)))
    rest = {
        name: it
        for name in _without_column(tuple(message))
        if (it := message[name]) != USUAL.get(name) and (it or isinstance(it, NUMBER_OR_TEXT))
    }
    if metadata:
        rest["metadata"] = without(metadata)
    for name, it in author.items():
        if name != "role" and (it or isinstance(it, NUMBER_OR_TEXT)):
            rest[AUTHOR + name] = it
    role = author.get("role")
    if role not in ROLES:
        rest["author_role"], role = role, "assistant"
    if kind not in ("text", "multimodal_text"):
        rest["content_type"] = kind
    if is_hidden:
        rest["hidden"] = True
    is_whole = message.get("status") in STATUSES
    is_cut = as_object(metadata.get("finish_details")).get("type") in CUT_SHORT
    status = COMPLETED if is_whole and not is_cut else INCOMPLETE
    return Said(role, stored, status, imported(NAME, id, rest))


@lru_cache(1_000)  # almost all messages have the same fields
def _without_column(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in COLUMNS)


def _content(
    id: str, parent: str | None, message: Object, content: Object, author: Object
) -> str | list[Any] | None:
    """Text or parts. "" or None if nothing is in it."""
    kind, given = content.get("content_type"), as_list(content.get("parts"))
    if kind == "text" and len(given) == 1 and isinstance(text := given[0], str):  # as most are
        return None if not text or text.isspace() else text
    if kind in (None, "text", "multimodal_text"):
        given = [part for part in given if part is not None]
        if kind != "multimodal_text" and all(isinstance(part, str) for part in given):
            text = "\n".join(given)
            return text if text.strip() else None
        parts = [_part(part) for part in parts_in(given)]
        is_said = any(part.get("type") != "text" or _has_text(part) for part in parts)
        return parts if is_said else None
    recipient = message.get("recipient") or "all"
    part: Object = {"type": kind}
    text = as_text(content.get("text")) or ""
    if kind == "code" and recipient != "all":
        part = {"type": "tool_call", "id": id, "name": recipient, "arguments": text}
        content = without(content, "text")
    elif kind == "code":
        part = {"type": "code"}
    elif kind in RESULTS:
        text = as_text(content.get(RESULTS[kind])) or ""
        names = (author.get("name"), content.get("name"))
        name = names[0] or names[1] if kind != "system_error" else names[1] or names[0]
        part = {"type": "tool_result", "call_id": parent, "name": name, "output": text}
        if kind == "system_error":
            part["is_error"] = True
        content = without(content, RESULTS[kind])
    elif kind == "thoughts":
        thoughts = objects_in(content.get("thoughts"))
        told = [as_text(it.get(name)) for it in thoughts for name in ("summary", "content")]
        text = "\n\n".join(each for each in told if each)
        part = {"type": "reasoning", "text": text}
    elif kind == "reasoning_recap":
        text = as_text(content.get("content")) or ""
        part = {"type": "reasoning", "text": text}
        content = without(content, "content")
    else:  # unknown, so it may have anything
        text = "unknown" if without(content, "content_type") else ""
    return [{**content, **part}] if text.strip() else None


def _part(part: Object) -> Object:
    kind = part.get("content_type")
    return {**part, "type": PARTS.get(kind, kind)} if isinstance(kind, str) else part


def _has_text(part: Object) -> bool:
    return bool(str(part.get("text") or "").strip())


FORMAT = Format(NAME, _matches, _id_of, _read)


# --- Writing


def write(conversation: ConversationRow, rows: Sequence[MessageRow]) -> Object:
    """A conversation of `conversations.json`, with the whole tree."""
    source = import_of(conversation.metadata, NAME)
    id, ids = source_ids(conversation, rows, NAME)
    mapping: dict[str, Object] = {
        ROOT: {"id": ROOT, "message": None, "parent": None, "children": []}
    }
    for row in rows:
        parent = ids.get(row.parent_id or "", ROOT)
        mapping[parent]["children"].append(ids[row.id])
        message = _message(row, ids[row.id])
        mapping[ids[row.id]] = {
            "id": ids[row.id],
            "message": message,
            "parent": parent,
            "children": [],
        }
    return {
        **without(source, "format", "id", "title"),
        "title": source_title(conversation, NAME),
        "create_time": _seconds(conversation.created_at),
        "update_time": _seconds(conversation.updated_at),
        "mapping": mapping,
        "current_node": ids.get(conversation.last_message_id or "", ROOT),
        "conversation_id": id,
        "id": id,
        "is_archived": bool(conversation.is_archived),
    }


def _message(row: MessageRow, id: str) -> Object:
    rest = import_of(row.metadata, NAME)
    author = {name[len(AUTHOR) :]: it for name, it in rest.items() if name.startswith(AUTHOR)}
    own = ("format", "id", "parent", "time", "content_type", "hidden")
    fields = {
        name: it for name, it in rest.items() if name not in own and not name.startswith(AUTHOR)
    }
    is_whole = row.status == COMPLETED
    return {
        "status": "finished_successfully" if is_whole else "in_progress",
        "end_turn": None,
        "weight": 1.0,
        "metadata": {},
        "recipient": "all",
        "channel": None,
        **fields,
        "id": id,
        "author": {"name": None, "metadata": {}, **author, "role": source_role(row, author)},
        "create_time": _seconds(row.created_at),
        "update_time": _seconds(row.updated_at) if row.updated_at > row.created_at else None,
        "content": _written(row.content, rest.get("content_type")),
    }


def _written(content: str | list[Any], kind: Any) -> Object:
    if isinstance(content, str):
        return {"content_type": "text", "parts": [content]}
    if not isinstance(kind, str) or len(content) != 1 or not isinstance(content[0], dict):
        return {"content_type": "multimodal_text", "parts": list(_written_parts(content))}
    part = content[0]
    names: tuple[str, ...] = ("type",)
    own: Object = {}
    if part.get("type") == "tool_call" and "arguments" in part:
        names, own = ("type", "id", "name", "arguments"), {"text": part["arguments"]}
    elif kind in RESULTS:
        names = ("type", "call_id", "output", "is_error", *(("name",) * (kind != "system_error")))
        own = {RESULTS[kind]: part.get("output")}
    elif kind == "thoughts":
        names = ("type", "text")
    elif kind == "reasoning_recap":
        names, own = ("type", "text"), {"content": part.get("text")}
    return {**{k: it for k, it in part.items() if k not in names}, **own, "content_type": kind}


def _written_parts(parts: Sequence[Any]) -> Iterator[Any]:
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)} if len(part) == 2:
                yield text
            case {"content_type": str()}:
                yield {name: it for name, it in part.items() if name != "type"}
            case _:
                yield part


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
