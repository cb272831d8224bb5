"""The rows of all measurements: the same for ours, for raw SQLite and for the twin."""

import hashlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.models import (
    API_KEY_COLUMNS,
    CONVERSATION_COLUMNS,
    MESSAGE_COLUMNS,
    ApiKeyRow,
    ConversationRow,
    MessageRow,
    Tag,
)
from db.settings import settings
from db.startup import open_store

API_KEY = "confab_bench"
CONVERSATIONS = "/api/v1/conversations"
START_MILLISECONDS = 1_767_225_600_000  # 2026-01-01; all rows are from the past
CONCURRENT_CONVERSATIONS = 1000  # that go on at the same time, one message each in turn
WORDS = ["who", "what", "then", "there", "store", "read", "write", "again"]
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=30)) for seed in range(64)]
COMMON_TAG, RARE_TAG = "common", "rare"


class Batch(NamedTuple):
    """`conversations`, with `messages` each, that belong to `projects` and `users` in turn."""

    projects: list[str]
    users: list[str | None]
    conversations: int
    messages: int
    archived: range = range(0)  # which of them are, from the oldest on
    # Every 100th is pinned, every third has the common tag, and every 500th the rare one.
    is_marked: bool = False


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


def usual_text(number: int) -> str:
    return TEXTS[number % len(TEXTS)]


def fill(path: Path, *batches: Batch, text_of: Callable[[int], str] = usual_text) -> None:
    """A new database at `path`, with our schema, the rows of `batches`, and `API_KEY`.

    `text_of` makes the text of a message, by its number in the order of time.
    """
    use(path).close_all()
    database.initialize(None)
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=off", "synchronous=off", "cache_size=-1000000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    digest = hashlib.sha256(API_KEY.encode()).hexdigest()
    key = ApiKeyRow(_id(0, _tail()), digest, None, "bench", _time(0), None)
    connection.execute(_insert(API_KEY_COLUMNS), key)
    first = 0
    for batch in batches:
        for start in range(0, batch.conversations, CONCURRENT_CONVERSATIONS):
            end = min(start + CONCURRENT_CONVERSATIONS, batch.conversations)
            conversations, messages = _rows(
                batch, first, range(first + start, first + end), text_of
            )
            encoded = [row.encoded for row in conversations]
            connection.executemany(_insert(CONVERSATION_COLUMNS), encoded)
            connection.executemany(_insert(Tag._meta.sorted_fields), _tags(conversations))
            stored = (row[: len(MESSAGE_COLUMNS)] for row in messages)
            connection.executemany(_insert(MESSAGE_COLUMNS), stored)
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


def _rows(
    batch: Batch, first: int, numbers: range, text_of: Callable[[int], str]
) -> tuple[list[ConversationRow], list[MessageRow]]:
    """Conversations that go on at the same time, and their messages as they came in.

    `first` is the number of the first one of the batch.
    """
    tails = [_tail() for _ in numbers]
    names = [_id(number * 10, tail) for number, tail in zip(numbers, tails, strict=True)]
    last: list[str | None] = [None] * len(names)
    messages = []
    for position in range(1, batch.messages + 1):
        role = "user" if position % 2 else "assistant"
        for index, number in enumerate(numbers):
            moment = number * 10 + position
            parent_id, time = last[index], _time(moment)
            last[index] = _id(moment, tails[index])
            messages.append(
                MessageRow(
                    id=last[index],
                    conversation_id=names[index],
                    role=role,
                    content=text_of(moment),
                    status="completed",
                    metadata=None,
                    created_at=time,
                    updated_at=time,
                    position=position,
                    content_type="text",
                    revision=position,
                    streamed_from=None,
                    client_id=None,
                    parent=None,
                    parent_id=parent_id,
                )
            )
    conversations = [
        ConversationRow(
            id=names[index],
            project_id=batch.projects[number % len(batch.projects)],
            user_id=batch.users[number // 7 % len(batch.users)],
            title=f"Conversation {number}",
            is_archived=number - first in batch.archived,
            created_at=_time(number * 10),
            updated_at=_time(number * 10 + batch.messages),
            last_message_id=last[index],
            version=batch.messages,
            key=None,
            is_pinned=batch.is_marked and number % 100 == 50,
            is_held=False,
            tags=_tags_of(number) if batch.is_marked else None,
            metadata=None,
            activity=last[index] or names[index],
            is_branched=False,
        )
        for index, number in enumerate(numbers)
    ]
    return conversations, messages


def _tags_of(number: int) -> list[str] | None:
    tags = [COMMON_TAG] * (number % 3 == 0) + [RARE_TAG] * (number % 500 == 0)
    return tags or None


def _tags(conversations: list[ConversationRow]) -> Iterator[tuple[Any, ...]]:
    """The rows by which lists by tag are read."""
    for row in conversations:
        for name in row.tags or ():
            yield row.id, name, row.project_id, row.is_archived, row.is_pinned, row.activity


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


def _insert(columns: list[Any]) -> str:
    """The statement for one row of a table, whose columns are given."""
    table, names = columns[0].model._meta.table_name, [column.name for column in columns]
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
