"""The rows of all measurements: the same for ours, for raw SQLite and for the twin."""

import hashlib
import os
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.models import ApiKey, ApiKeyRow, Conversation, ConversationRow, Message, MessageRow
from db.settings import settings
from db.startup import open_store

API_KEY = "confab_bench"
CONVERSATIONS = "/api/v1/conversations"
START_MILLISECONDS = 1_767_225_600_000  # 2026-01-01; all rows are from the past
CONCURRENT_CONVERSATIONS = 1000  # that go on at the same time, one message each in turn
WORDS = ["who", "what", "then", "there", "store", "read", "write", "again"]
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=30)) for seed in range(64)]


class Batch(NamedTuple):
    """`conversations`, with `messages` each, that belong to `projects` and `users` in turn."""

    projects: list[str]
    users: list[str | None]
    conversations: int
    messages: int
    archived: int = 0  # so many of the oldest are archived


def project(number: int) -> str:
    return f"7c9e6679-7425-40de-944b-{number:012x}"


READ_PROJECT, APPEND_PROJECT, LONG_PROJECT, CREATE_PROJECT = map(project, range(1, 5))


def key_for(path: str) -> dict[str, str]:
    """The key that `/projects` routes always need. `/api/v1` needs none on the `dev` stage."""
    return {"X-API-Key": API_KEY} if path.startswith("/projects/") else {}


def use(path: Path, synchronous: str = "full") -> SqliteStore:
    """Make the application in this process work on the file at `path`."""
    os.environ["DATABASE_URL"] = f"sqlite:///{path}?synchronous={synchronous}"
    os.environ["REQUIRE_API_KEY"] = "false"
    settings.cache_clear()
    return open_store(settings())


def fill(path: Path, *batches: Batch) -> None:
    """A new database at `path`, with our schema, the rows of `batches`, and `API_KEY`."""
    use(path).close_all()
    database.initialize(None)
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=off", "synchronous=off", "cache_size=-1000000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    digest = hashlib.sha256(API_KEY.encode()).hexdigest()
    key = ApiKeyRow(_id(0, _tail()), digest, None, "bench", _time(0), None)
    connection.execute(_insert(ApiKey, ApiKeyRow), key)
    first = 0
    for batch in batches:
        for start in range(0, batch.conversations, CONCURRENT_CONVERSATIONS):
            end = min(start + CONCURRENT_CONVERSATIONS, batch.conversations)
            numbers = range(first + start, first + end)
            conversations, messages = _rows(batch, numbers)
            connection.executemany(_insert(Conversation, ConversationRow), conversations)
            connection.executemany(_insert(Message, MessageRow), messages)
        first += batch.conversations
    connection.execute("COMMIT")
    connection.execute("PRAGMA optimize")
    connection.execute("PRAGMA journal_mode=wal")
    connection.close()


def fill_usual(path: Path) -> Path:
    """500 conversations with 20 messages each, 200 without any, and 50 with 100."""
    fill(
        path,
        Batch([READ_PROJECT], [None], 500, 20),
        Batch([APPEND_PROJECT], [None], 200, 0),
        Batch([LONG_PROJECT], [None], 50, 100),
    )
    return path


def ids(path: Path, project_id: str) -> list[str]:
    """The ids of a project's conversations, oldest first."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT id FROM conversation WHERE project_id = ? ORDER BY id"
        return [id for (id,) in connection.execute(query, [project_id])]


def _rows(batch: Batch, numbers: range) -> tuple[list[ConversationRow], list[MessageRow]]:
    """Conversations that go on at the same time, and their messages as they came in."""
    tails = [_tail() for _ in numbers]
    names = [_id(number * 10, tail) for number, tail in zip(numbers, tails, strict=True)]
    last: list[str | None] = [None] * len(names)
    messages = []
    for position in range(1, batch.messages + 1):
        role = "user" if position % 2 else "assistant"
        for index, number in enumerate(numbers):
            moment = number * 10 + position
            last[index], time = _id(moment, tails[index]), _time(moment)
            text = TEXTS[moment % len(TEXTS)]
            messages.append(
                MessageRow(
                    id=last[index],
                    conversation_id=names[index],
                    role=role,
                    content=text,
                    status="completed",
                    metadata=None,
                    created_at=time,
                    updated_at=time,
                    position=position,
                    content_type="text",
                    revision=position,
                    streamed_from=None,
                )
            )
    conversations = [
        ConversationRow(
            names[index],
            batch.projects[number % len(batch.projects)],
            batch.users[number // 7 % len(batch.users)],
            f"Conversation {number}",
            number < batch.archived,
            _time(number * 10),
            _time(number * 10 + batch.messages),
            last[index],
            batch.messages,
        )
        for index, number in enumerate(numbers)
    ]
    return conversations, messages


def _tail() -> str:
    """The random part of a UUIDv7. A conversation's messages share it, since making it is slow."""
    digits = f"{random.getrandbits(74):019x}"
    return f"-7{digits[:3]}-8{digits[3:6]}-{digits[6:18]}"


def _id(moment: int, tail: str) -> str:
    """The UUIDv7 of that many milliseconds after START_MILLISECONDS."""
    at = START_MILLISECONDS + moment
    return f"{at >> 16:08x}-{at & 0xFFFF:04x}{tail}"


def _time(moment: int) -> str:
    seconds, milliseconds = divmod(START_MILLISECONDS + moment, 1000)
    return f"{_second(seconds)}.{milliseconds:03}Z"


@lru_cache(100)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def _insert(model: type, row: type) -> str:
    """The statement for one row, its columns in the order of the row's fields."""
    table, fields = model._meta.table_name, row._fields
    return f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))})"
