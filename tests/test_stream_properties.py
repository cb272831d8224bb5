"""Tests with random operations that every reader ends with exactly the stored text."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from db import clock as db_clock
from db import conversations, events, messages, streams, transcripts
from db.engine.database import database
from db.errors import Conflict
from db.messages import Draft
from db.scope import EVERYTHING
from db.settings import settings
from db.startup import open_store

from .support.clock import Clock
from .support.followers import Follower
from .support.world import PROJECT

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

ENVELOPE = 400  # bytes of an event without its text: field names, ids, times


@dataclass
class Expected:
    """The expected state of a message."""

    id: str
    content: str | list[dict[str, Any]]
    status: str
    metadata: dict[str, Any] | None = None

    @property
    def is_open(self) -> bool:
        return self.status == "in_progress"

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else ""


class CountingFollower(Follower):
    """A follower that counts its connections and the bytes that arrive."""

    received = connections = 0

    def read(self, cut: int | None = None) -> bool:
        """Receive an answer, cut at `cut` bytes. Return whether the whole answer had events."""
        body = self.ask()
        arrived = body[: len(body) if cut is None else cut % (len(body) + 1)]
        self.connections += 1
        self.received += len(arrived)
        self.receive(arrived)
        return b"\nid: " in body


class Story:
    """A conversation, the operations on it, and the state that they should lead to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.id = conversations.start(EVERYTHING, PROJECT).id
        self.expected: dict[str, Expected] = {}
        self.title: str | None = None
        self.written = 0  # bytes in JSON
        self.readers = [CountingFollower(self.id) for _ in range(3)]
        self.add("Two messages", "completed", None)
        self.add("and one in progress: ", "in_progress", {})

    def count(self, *written: object) -> None:
        self.written += sum(len(json.dumps(it, ensure_ascii=False).encode()) for it in written)

    def pick(self, number: int) -> Expected:
        """Return one of the messages, or a new one if there is none."""
        expected = list(self.expected.values())
        return expected[number % len(expected)] if expected else self.add("", "in_progress", None)

    def add(self, content: Any, status: str, metadata: dict[str, Any] | None) -> Expected:
        draft = Draft("assistant", content, status, metadata)
        (row,) = messages.append(EVERYTHING, self.id, [draft])
        self.count(content, metadata)
        self.expected[row.id] = Expected(row.id, content, status, metadata)
        return self.expected[row.id]

    def write(self, number: int, delta: str, status: str | None) -> None:
        self.append(number, len(self.pick(number).text), delta, status)

    def retry(self, number: int, back: int, length: int, status: str | None) -> None:
        text = self.pick(number).text
        offset = max(0, len(text) - back)
        self.append(number, offset, text[offset : offset + length], status)

    def append(self, number: int, offset: int, delta: str, status: str | None) -> None:
        message = self.pick(number)
        length, end = len(message.text), offset + len(delta)
        grows = message.is_open and offset == length
        is_there = end <= length and message.text[offset:end] == delta
        if message.is_open:
            agrees = status is None or end >= length
        else:
            agrees = status in (None, message.status)
        send = partial(streams.append, EVERYTHING, self.id, message.id, offset, delta, status)
        if not grows and not (is_there and agrees):
            with pytest.raises(Conflict) as conflict:
                send()
            assert conflict.value.extra["length"] == length
            return
        progress = send()
        if grows:
            message.content = message.text + delta
            self.count(delta)
        if message.is_open and status:
            message.status = status
        assert (progress.length, progress.status) == (len(message.text), message.status)

    def edit(self, number: int, changes: dict[str, Any]) -> None:
        message = self.pick(number)
        messages.edit(EVERYTHING, self.id, message.id, **changes)
        vars(message).update(changes)
        if changes:
            self.count(message.content, message.metadata)

    def reopen(self, number: int) -> None:
        self.edit(number, {"content": self.pick(number).text, "status": "in_progress"})

    def delete(self, number: int) -> None:
        message = self.pick(number)
        messages.remove(EVERYTHING, self.id, message.id)
        del self.expected[message.id]

    def rename(self, title: str | None) -> None:
        conversations.change(EVERYTHING, self.id, title=title)
        self.title = title
        self.count(title)

    def fall_silent(self) -> None:
        """Make all writers silent. No request has finished their messages yet."""
        self.clock.move(seconds=61)
        for message in self.expected.values():
            if message.is_open:
                message.status = "incomplete"

    def restart(self) -> None:
        database.obj.close_all()
        db_clock._newest = 0
        open_store(settings())

    def read(self, reader: int, cut: int | None) -> None:
        self.readers[reader].read(cut)

    def join(self, number: int) -> None:
        """Replace a reader by one that has just read the conversation."""
        row, found = transcripts.read(EVERYTHING, self.id)
        reader = CountingFollower(self.id, last_event_id=row.version)
        reader.messages = {message.id: message._asdict() for message in found}
        reader.conversation = row._asdict()
        self.readers[number] = reader

    def check(self) -> None:
        _, rows = transcripts.read(EVERYTHING, self.id)
        found = {row.id: Expected(row.id, row.content, row.status, row.metadata) for row in rows}
        assert found == self.expected
        assert list(found) == sorted(found) == list(self.expected)
        for reader in self.readers:
            while reader.read():
                pass
            told = {
                id: Expected(id, row["content"], row["status"], row["metadata"])
                for id, row in reader.messages.items()
            }
            assert told == self.expected
            assert (reader.conversation or {"title": None})["title"] == self.title
            # Each cut connection may have cost one event.
            events = len(reader.told) + reader.connections
            assert reader.received <= 1.5 * self.written + ENVELOPE * events


SMALL = st.integers(1, 6)
NUMBER = st.integers(0, 5)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}), max_size=2)
METADATA = st.none() | st.dictionaries(TEXT, TEXT, max_size=2)
FINAL = st.sampled_from(["completed", "incomplete"])
STATUS = st.none() | st.none() | FINAL
CHANGES = st.fixed_dictionaries(
    {}, optional={"content": TEXT, "status": FINAL, "metadata": METADATA}
) | st.fixed_dictionaries({"content": PARTS, "status": FINAL})
HAPPENINGS: dict[str, tuple[Any, ...]] = {
    "add": (TEXT, FINAL | st.just("in_progress"), METADATA),
    "write": (NUMBER, TEXT, STATUS),
    "retry": (NUMBER, st.integers(0, 20), st.integers(0, 20), STATUS),
    "append": (NUMBER, st.integers(0, 40), TEXT, STATUS),
    "edit": (NUMBER, CHANGES),
    "reopen": (NUMBER,),
    "delete": (NUMBER,),
    "rename": (st.sampled_from(["One", "Two", None]),),
    "fall_silent": (),
    "restart": (),
    "read": (st.integers(0, 2), st.none() | st.integers(0, 5000)),
    "join": (st.integers(0, 2),),
}
# Writes and cut reads happen most often.
OFTEN = [*HAPPENINGS, *["write"] * 8, *["read"] * 8, "retry", "reopen"]
HAPPENING = st.sampled_from(OFTEN).flatmap(lambda name: st.tuples(st.just(name), *HAPPENINGS[name]))


def test_every_reader_ends_with_exactly_the_text(
    clock: Clock,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    @hypothesis.settings(max_examples=100, derandomize=True, database=None, deadline=None)
    @hypothesis.given(
        limits=st.tuples(SMALL, SMALL, SMALL),
        happenings=st.lists(HAPPENING, min_size=30, max_size=60),
    )
    def play(limits: tuple[int, int, int], happenings: list[tuple[Any, ...]]) -> None:
        names = ("BATCH_ROWS", "PIECE_CODE_POINTS", "BATCH_CODE_POINTS")
        for limit, value in zip(names, limits, strict=True):
            monkeypatch.setattr(events, limit, value)
        story = Story(clock)
        for name, *arguments in happenings:
            getattr(story, name)(*arguments)
        story.check()

    # Without fsync a commit is ten times as fast, and this test cuts no power.
    configure(database_url=f"sqlite:///{tmp_path}/confab.db?synchronous=off")
    open_store(settings())
    play()
    database.obj.close_all()
