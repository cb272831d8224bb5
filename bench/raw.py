"""The limit: what the routes do, by hand with `sqlite3` and `json`.

It has no gateway, no routing, no validation, no tenants, no errors, no request ids and no log.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

from db.clock import new_id, now
from db.engine.sqlite import SqliteStore

MESSAGE = "id, conversation_id, role, content, status, metadata, created_at, updated_at"
CONVERSATION = (
    "id, project_id, user_id, title, is_archived, created_at, updated_at, last_message_id, version"
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
        self.run("BEGIN IMMEDIATE")
        self.run(
            f"INSERT INTO conversation ({CONVERSATION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (id, given["project_id"], None, given["title"], False, time, time, None, 0),
        )
        self.run("COMMIT")
        return json.dumps(_conversation((id, given["project_id"], given["title"], time, time), []))

    def append(self, id: str, body: bytes) -> str:
        given = json.loads(body)
        self.run("BEGIN IMMEDIATE")
        query = f"SELECT {CONVERSATION} FROM conversation WHERE id = ?"
        version = self.run(query, (id,)).fetchone()[-1] + 1
        time, message_id = now(), new_id()
        row = (message_id, id, given["role"], given["content"], "completed", None, time, time)
        self.run(
            f"INSERT INTO message ({MESSAGE}, position, content_type, revision) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, version, "text", version),
        )
        self.run(
            "UPDATE conversation SET version = ?, last_message_id = ?, updated_at = ? WHERE id = ?",
            (version, message_id, time, id),
        )
        self.run("COMMIT")
        return json.dumps(_message(row))

    def get(self, id: str) -> str:
        query = (
            "SELECT id, project_id, title, created_at, updated_at FROM conversation WHERE id = ?"
        )
        row = self.run(query, (id,)).fetchone()
        query = f"SELECT {MESSAGE} FROM message WHERE conversation_id = ? ORDER BY position"
        return json.dumps(_conversation(row, [_message(m) for m in self.run(query, (id,))]))

    def list(self, project_id: str) -> str:
        rows = self.run(
            "SELECT id, project_id, title, created_at, updated_at FROM conversation "
            "WHERE project_id = ? ORDER BY id DESC LIMIT 100",
            (project_id,),
        ).fetchall()
        messages: dict[str, list[dict[str, Any]]] = {row[0]: [] for row in rows}
        query = (
            f"SELECT {MESSAGE} FROM message WHERE conversation_id IN ({', '.join('?' * len(rows))})"
            " ORDER BY conversation_id, position"
        )
        for message in self.run(query, [row[0] for row in rows]):
            messages[message[1]].append(_message(message))
        found = [_conversation(row, messages[row[0]]) for row in rows]
        return json.dumps({"conversations": found, "total": len(found), "skip": 0, "limit": 100})

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
    id, project_id, title, created_at, updated_at = row
    return {
        "id": id,
        "project_id": project_id,
        "title": title,
        "messages": messages,
        "created_at": created_at,
        "updated_at": updated_at,
    }


def _message(row: tuple[Any, ...]) -> dict[str, Any]:
    id, conversation_id, role, content, status, metadata, created_at, updated_at = row
    return {
        "id": id,
        "conversation_id": conversation_id,
        "role": role,
        "content": content,
        "status": status,
        "metadata": json.loads(metadata) if metadata else None,
        "created_at": created_at,
        "updated_at": updated_at,
    }
