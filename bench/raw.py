"""The limit: what the routes do, by hand with `sqlite3` and `json`.

It has no gateway, no routing, no validation, no tenants, no errors, no request ids and no log.
"""

import json
import sqlite3
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from db.clock import new_id, now
from db.engine.sqlite import SqliteStore

MESSAGE = "id, conversation_id, role, content, status, metadata, created_at, updated_at, client_id"
CONVERSATION = (
    "id, project_id, title, created_at, updated_at, user_id, key, is_archived, is_pinned, is_held, "
    "tags, metadata, last_message_id"
)


class Raw:
    def __init__(self, path: Path, synchronous: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        for name, value in {**SqliteStore.PRAGMAS, "synchronous": synchronous}.items():
            self.connection.execute(f"PRAGMA {name}={value}")
        self.run = self.connection.execute

    def create(self, body: bytes) -> str:
        given = json.loads(body)
        id, time = new_id(), now()
        named = (id, given["project_id"], given["title"], time, time)
        row = (*named, None, None, False, False, False, None, None, None)
        self.run("BEGIN IMMEDIATE")
        self.run(
            f"INSERT INTO conversation ({CONVERSATION}, version, activity, is_branched) "
            f"VALUES ({', '.join('?' * 16)})",
            (*row, 0, id, False),
        )
        self.run("COMMIT")
        return json.dumps(_conversation(row, []))

    def append(self, id: str, body: bytes) -> str:
        given = json.loads(body)
        self.run("BEGIN IMMEDIATE")
        query = f"SELECT {CONVERSATION}, version FROM conversation WHERE id = ?"
        *_, parent_id, version = self.run(query, (id,)).fetchone()
        version += 1
        time, message_id = now(), new_id()
        row = (message_id, id, given["role"], given["content"], "completed", None, time, time, None)
        self.run(
            f"INSERT INTO message ({MESSAGE}, position, content_type, revision) "
            f"VALUES ({', '.join('?' * 12)})",
            (*row, version, "text", version),
        )
        self.run(
            "UPDATE conversation SET version = ?, last_message_id = ?, activity = ?, "
            "updated_at = ? WHERE id = ?",
            (version, message_id, message_id, time, id),
        )
        self.run("COMMIT")
        return json.dumps(_message(row, parent_id))

    def get(self, id: str) -> str:
        query = f"SELECT {CONVERSATION} FROM conversation WHERE id = ?"
        row = self.run(query, (id,)).fetchone()
        query = f"SELECT {MESSAGE} FROM message WHERE conversation_id = ? ORDER BY position"
        return json.dumps(_conversation(row, _line(self.run(query, (id,)))))

    def list(self, project_id: str) -> str:
        rows = self.run(
            f"SELECT {CONVERSATION} FROM conversation "
            "WHERE project_id = ? ORDER BY id DESC LIMIT 100",
            (project_id,),
        ).fetchall()
        query = (
            f"SELECT {MESSAGE} FROM message WHERE conversation_id IN ({', '.join('?' * len(rows))})"
            " ORDER BY conversation_id, position"
        )
        found = self.run(query, [row[0] for row in rows])
        messages = {id: _line(group) for id, group in groupby(found, key=itemgetter(1))}
        shown = [_conversation(row, messages.get(row[0], [])) for row in rows]
        return json.dumps({"conversations": shown, "total": len(shown), "skip": 0, "limit": 100})

    def page(self, project_id: str) -> str:
        rows = self.run(
            "SELECT 'conversation', id, title, created_at, is_archived, project_id, user_id, "
            "last_message_id FROM conversation WHERE project_id = ? ORDER BY id DESC LIMIT 101",
            (project_id,),
        ).fetchall()
        data = [dict(zip(PROJECTS_FIELDS, row, strict=True)) for row in rows[:100]]
        for row in data:
            row["is_archived"] = bool(row["is_archived"])
        first, last = data[0]["id"], data[-1]["id"]
        page = {"data": data, "has_more": len(rows) > 100, "first_id": first, "last_id": last}
        return json.dumps(page)


PROJECTS_FIELDS = (
    "type", "id", "title", "created_at", "is_archived", "project_id", "user_id", "last_message_id",
)  # fmt: skip


def _conversation(row: tuple[Any, ...], messages: list[dict[str, Any]]) -> dict[str, Any]:
    id, project_id, title, created_at, updated_at, user_id, key, *more = row
    is_archived, is_pinned, is_held, tags, metadata, last_message_id = more
    return {
        "id": id,
        "project_id": project_id,
        "title": title,
        "messages": messages,
        "created_at": created_at,
        "updated_at": updated_at,
        "user_id": user_id,
        "key": key,
        "is_archived": bool(is_archived),
        "is_pinned": bool(is_pinned),
        "is_held": bool(is_held),
        "tags": json.loads(tags) if tags else [],
        "metadata": json.loads(metadata) if metadata else None,
        "last_message_id": last_message_id,
    }


def _line(rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Messages of which each follows the one before it."""
    messages, parent_id = [], None
    for row in rows:
        messages.append(_message(row, parent_id))
        parent_id = row[0]
    return messages


def _message(row: tuple[Any, ...], parent_id: str | None) -> dict[str, Any]:
    id, conversation_id, role, content, status, metadata, created_at, updated_at, client_id = row
    return {
        "id": id,
        "conversation_id": conversation_id,
        "role": role,
        "content": content,
        "status": status,
        "metadata": json.loads(metadata) if metadata else None,
        "created_at": created_at,
        "updated_at": updated_at,
        "parent_id": parent_id,
        "client_id": client_id,
    }
