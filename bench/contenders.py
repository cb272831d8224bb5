"""Three stores of a conversation, each used as its documentation says: ours and two that are known.

Run as a module it times them in turns and prints a JSON line for each operation and round. It has a
process of its own, since the packages of the others fill it with objects, and Python's garbage
collector would go through them during all other measurements.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Protocol

from agents.memory import SQLiteSession
from langchain_community.chat_message_histories import SQLChatMessageHistory
from langchain_core.messages import HumanMessage
from sqlalchemy import create_engine, event

from db import conversations, messages
from db.messages import Draft
from db.scope import EVERYTHING

from .data import CREATE_PROJECT, TEXTS, use
from .timing import Block, blocks_in_turns, microseconds

HISTORY_MESSAGES = 400
NEWEST_MESSAGES = 20
HISTORY = [f"{number}: {TEXTS[number % len(TEXTS)]}" for number in range(HISTORY_MESSAGES)]
APPEND, NEWEST = "append", f"newest {NEWEST_MESSAGES}"


class Contender(Protocol):
    """A store with one conversation, which has the messages of `HISTORY`."""

    def newest(self) -> list[str]:
        """The text of the newest messages, oldest first."""

    def blocks(self) -> dict[str, Block]:
        """The operations to be timed."""


class Ours:
    def __init__(self, folder: Path) -> None:
        use(folder / "ours.db")
        self._id = conversations.start(EVERYTHING, CREATE_PROJECT).id
        messages.append(EVERYTHING, self._id, [Draft("user", text) for text in HISTORY])

    def _append(self) -> None:
        messages.append(EVERYTHING, self._id, [Draft("user", TEXTS[0])])

    def _newest(self) -> list[messages.MessageRow]:
        page = messages.page_for(EVERYTHING, self._id, limit=NEWEST_MESSAGES, descending=True)
        return page.rows

    def newest(self) -> list[str]:
        return [str(row.content) for row in reversed(self._newest())]

    def blocks(self) -> dict[str, Block]:
        return {
            NEWEST: partial(microseconds, self._newest),
            APPEND: partial(microseconds, self._append),
        }


class FullSession(SQLiteSession):
    """It sets WAL on each connection itself, and nothing else."""

    @staticmethod
    def _configure_connection(conn: sqlite3.Connection) -> None:
        SQLiteSession._configure_connection(conn)
        conn.execute("PRAGMA synchronous=FULL")


class OpenaiAgents:
    """It is asynchronous, so it is timed inside of a running event loop."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._session = FullSession("bench", folder / "agents.db")
        items = [{"role": "user", "content": text} for text in HISTORY]
        self._loop.run_until_complete(self._session.add_items(items))

    async def _append(self) -> None:
        await self._session.add_items([{"role": "user", "content": TEXTS[0]}])

    async def _newest(self) -> list[Any]:
        return await self._session.get_items(NEWEST_MESSAGES)

    def newest(self) -> list[str]:
        return [item["content"] for item in self._loop.run_until_complete(self._newest())]

    def blocks(self) -> dict[str, Block]:
        def block(call: Callable[[], Awaitable[Any]]) -> Block:
            return lambda times: self._loop.run_until_complete(_awaited(call, times))

        return {NEWEST: block(self._newest), APPEND: block(self._append)}


async def _awaited(call: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """How many microseconds each of that many awaited calls took."""
    taken = []
    for _ in range(times):
        started = perf_counter_ns()
        await call()
        taken.append((perf_counter_ns() - started) / 1000)
    return taken


class Langchain:
    """It can only read a whole history."""

    def __init__(self, folder: Path) -> None:
        engine = create_engine(f"sqlite:///{folder / 'langchain.db'}")

        @event.listens_for(engine, "connect")
        def make_durable(connection: sqlite3.Connection, record: object) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        self._history = SQLChatMessageHistory("bench", connection=engine)
        self._history.add_messages([HumanMessage(text) for text in HISTORY])

    def _append(self) -> None:
        self._history.add_message(HumanMessage(TEXTS[0]))

    def _newest(self) -> list[Any]:
        return self._history.messages[-NEWEST_MESSAGES:]

    def newest(self) -> list[str]:
        return [message.content for message in self._newest()]

    def blocks(self) -> dict[str, Block]:
        return {
            NEWEST: partial(microseconds, self._newest),
            APPEND: partial(microseconds, self._append),
        }


CONTENDERS: dict[str, Callable[[Path], Contender]] = {
    "ours": Ours,
    "SQLiteSession": OpenaiAgents,
    "SQLChatMessageHistory": Langchain,
}


def main(folder: Path, rounds: int, times: int) -> None:
    contenders = {name: make(folder) for name, make in CONTENDERS.items()}
    for name, each in contenders.items():
        if each.newest() != HISTORY[-NEWEST_MESSAGES:]:
            raise RuntimeError(f"{name} reads something else than was stored: {each.newest()}")
    # Reads come first: appends make the histories longer.
    for operation in (NEWEST, APPEND):
        blocks = {name: each.blocks()[operation] for name, each in contenders.items()}
        for _ in range(rounds):
            taken = blocks_in_turns(blocks, times)
            print(json.dumps({"operation": operation, "microseconds": taken}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
