"""Exports in ChatGPT's shape, as large as they are asked for, with the metadata that they have."""

import json
import random
import zipfile
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from .texts import text

MESSAGES = 20
START_SECONDS = 1_700_000_000
MEMBER = "conversations.json"


def make(path: Path, conversations: int, messages: int = MESSAGES) -> Path:
    """A file with so many conversations. A file that is there is kept."""
    if not path.exists():
        part = path.with_suffix(".part")
        with part.open("w") as file:
            _write(file, conversations, messages)
        part.replace(path)
    return path


def make_zip(path: Path, conversations: int) -> Path:
    if not path.exists():
        part = path.with_suffix(".part")
        with (
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open(MEMBER, "w", force_zip64=True) as member,
            TextIOWrapper(member) as file,
        ):
            _write(file, conversations, MESSAGES)
        part.replace(path)
    return path


def size_in(path: Path) -> int:
    """The bytes that are read of a file, or of the member of a zip."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo(MEMBER).file_size


def _write(file: IO[str], conversations: int, messages: int) -> None:
    randomly = random.Random(17)
    for number in range(conversations):
        file.write(", " if number else "[")
        json.dump(_conversation(number, messages, randomly), file)
    file.write("]")


def _conversation(number: int, messages: int, randomly: random.Random) -> dict[str, Any]:
    ids = _ids(randomly)
    id, root = next(ids), next(ids)
    began = START_SECONDS + number * 1000
    mapping: dict[str, Any] = {root: {"id": root, "message": None, "parent": None, "children": []}}
    leaf = root
    for position in range(messages):
        node = next(ids)
        mapping[leaf]["children"].append(node)
        said = _message(node, number * messages + position, began + position * 10.123)
        mapping[node] = {"id": node, "message": said, "parent": leaf, "children": []}
        leaf = node
    return {
        "title": f"Conversation {number}", "create_time": began, "update_time": began + 300.5,
        "mapping": mapping, "moderation_results": [], "current_node": leaf, "plugin_ids": None,
        "conversation_id": id, "conversation_template_id": None, "gizmo_id": None,
        "is_archived": False, "safe_urls": [], "default_model_slug": "gpt-4o", "id": id,
    }  # fmt: skip


def _message(id: str, number: int, time: float) -> dict[str, Any]:
    is_users = number % 2 == 0
    metadata: dict[str, Any] = {"request_id": id, "timestamp_": "absolute", "message_type": None}
    if not is_users:
        metadata |= {
            "model_slug": "gpt-4o", "citations": [], "content_references": [],
            "finish_details": {"type": "stop", "stop_tokens": [200002]},
        }  # fmt: skip
    role = "user" if is_users else "assistant"
    return {
        "id": id, "author": {"role": role, "name": None, "metadata": {}},
        "create_time": time, "update_time": None,
        "content": {"content_type": "text", "parts": [text(number)]},
        "status": "finished_successfully", "end_turn": None if is_users else True, "weight": 1.0,
        "metadata": metadata, "recipient": "all", "channel": None,
    }  # fmt: skip


def _ids(randomly: random.Random) -> Iterator[str]:
    while True:
        yield str(UUID(int=randomly.getrandbits(128), version=4))
