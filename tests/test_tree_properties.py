"""Tests with random operations that all ways to read a tree agree with a small model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db import conversations, events, messages, streams, transcripts
from db.engine.database import database
from db.messages import ACTIVE_LEAF, ALL, Draft
from db.models import MessageRow
from db.scope import EVERYTHING
from db.settings import settings
from db.startup import open_store

from .support.clock import Clock
from .support.followers import Follower
from .support.world import PROJECT

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


class Tree:
    """The model: the parent of each message, by age, and the active leaf."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}
        self.leaf_id: str | None = None

    def append(self, id: str, parent_id: str | None) -> None:
        self.parents[id], self.leaf_id = parent_id, id

    def remove(self, id: str) -> None:
        parent_id = self.parents.pop(id)
        self.parents = {c: parent_id if p == id else p for c, p in self.parents.items()}
        if self.leaf_id == id:
            self.leaf_id = parent_id or max(self.parents, default=None)

    def path(self, id: str | None) -> list[str]:
        return [] if id is None else [*self.path(self.parents[id]), id]


class Story:
    """A conversation with its model, and followers who know it from its events alone."""

    def __init__(self, clock: Clock, id: str | None = None) -> None:
        self.clock = clock
        self.id = id or conversations.start(EVERYTHING, PROJECT, tags=["a tag"]).id
        self.tree = Tree()
        self.texts: dict[str, tuple[object, str]] = {}
        self.followers = [Follower(self.id) for _ in range(2)]

    def pick(self, number: int) -> str | None:
        ids = list(self.tree.parents)
        return ids[number % len(ids)] if ids else None

    def store(self, drafts: list[Draft]) -> None:
        rows = messages.append(EVERYTHING, self.id, drafts)
        for draft, row in zip(drafts, rows, strict=True):
            parent_id = draft.parent_id
            self.tree.append(row.id, self.tree.leaf_id if parent_id is ACTIVE_LEAF else parent_id)
            self.texts[row.id] = (draft.content, draft.status)
            assert row.parent_id == self.tree.parents[row.id]

    def append(self, contents: list[str], status: str) -> None:
        self.store([Draft("user", content, status) for content in contents])

    def branch(self, number: int, contents: list[str]) -> None:
        first, *others = contents
        draft = Draft("user", first, parent_id=self.pick(number))
        self.store([draft, *[Draft("user", content) for content in others]])

    def plant(self, content: str) -> None:
        self.store([Draft("user", content, parent_id=None)])

    def edit(self, number: int, content: str) -> None:
        if (id := self.pick(number)) is not None:
            messages.edit(EVERYTHING, self.id, id, content=content, status="completed")
            self.texts[id] = (content, "completed")

    def reopen(self, number: int) -> None:
        if (id := self.pick(number)) is not None:
            messages.edit(EVERYTHING, self.id, id, status="in_progress")
            self.texts[id] = (self.texts[id][0], "in_progress")

    def write(self, number: int, delta: str, status: str | None) -> None:
        open_ids = [id for id, (_, status) in self.texts.items() if status == "in_progress"]
        if open_ids:
            id = open_ids[number % len(open_ids)]
            text = str(self.texts[id][0])
            streams.append(EVERYTHING, self.id, id, len(text), delta, status)
            self.texts[id] = (text + delta, status or "in_progress")

    def fall_silent(self) -> None:
        self.clock.move(seconds=61)
        for id, (text, status) in self.texts.items():
            self.texts[id] = (text, "incomplete" if status == "in_progress" else status)

    def delete(self, number: int) -> None:
        if (id := self.pick(number)) is not None:
            messages.remove(EVERYTHING, self.id, id)
            self.tree.remove(id)
            del self.texts[id]

    def delete_leaf(self) -> None:
        if self.tree.leaf_id:
            self.delete(list(self.tree.parents).index(self.tree.leaf_id))

    def switch(self, number: int) -> None:
        if (id := self.pick(number)) is not None:
            transcripts.change(EVERYTHING, self.id, last_message_id=id)
            self.tree.leaf_id = id

    def fork(self, number: int | None) -> None:
        id = self.tree.leaf_id if number is None else self.pick(number)
        fork = transcripts.fork(EVERYTHING, self.id, id)
        copy = Story(self.clock, fork.conversation.id)
        for origin_id, row in zip(self.tree.path(id), fork.messages, strict=True):
            text, status = self.texts[origin_id]
            copy.tree.append(row.id, copy.tree.leaf_id)
            copy.texts[row.id] = (text, "incomplete" if status == "in_progress" else status)
        copy.check(1)

    def follow(self, follower: int, cut: int | None) -> None:
        body = self.followers[follower].ask()
        self.followers[follower].receive(body if cut is None else body[: cut % (len(body) + 1)])

    def join(self, follower: int) -> None:
        """Replace a follower by one that has just read all branches."""
        row, found = transcripts.read(EVERYTHING, self.id, branch=ALL)
        joined = Follower(self.id, last_event_id=row.version)
        joined.messages = {message.id: message._asdict() for message in found}
        joined.leaf_id, joined.newest_id = row.last_message_id, max(joined.messages, default="")
        self.followers[follower] = joined

    def check(self, limit: int) -> None:
        tree = self.tree
        row, active = transcripts.read(EVERYTHING, self.id)
        assert row.last_message_id == tree.leaf_id
        self.check_rows(active, tree.path(tree.leaf_id))
        _, every = transcripts.read(EVERYTHING, self.id, branch=ALL)
        self.check_rows(every, list(tree.parents))
        for branch, path in [
            (None, tree.path(tree.leaf_id)),
            (ALL, list(tree.parents)),
            *[(id, tree.path(id)) for id in tree.parents],
        ]:
            for descending in (False, True):
                self.check_pages(branch, path, limit, descending)
        for id in tree.parents:
            assert messages.find(EVERYTHING, self.id, id).parent_id == tree.parents[id]
        for follower in self.followers:
            self.check_follower(follower)

    def check_follower(self, follower: Follower) -> None:
        follower.catch_up()
        assert follower.parents == self.tree.parents
        assert follower.leaf_id == self.tree.leaf_id
        assert follower.texts == self.texts

    def check_rows(self, rows: list[MessageRow], ids: list[str]) -> None:
        assert [row.id for row in rows] == ids
        for row in rows:
            assert row.parent_id == self.tree.parents[row.id]
            assert (row.content, row.status) == self.texts[row.id]

    def check_pages(self, branch: str | None, path: list[str], limit: int, down: bool) -> None:
        """Read a branch in pages, from one end to the other, and the last page back."""
        ids = path[::-1] if down else path
        read: list[str] = []
        cursor, has_more = None, True
        while has_more:
            page = messages.page_for(
                EVERYTHING, self.id, limit, after=cursor, descending=down, branch=branch
            )
            self.check_rows(page.rows, ids[len(read) : len(read) + limit])
            read += [row.id for row in page.rows]
            cursor, has_more = read[-1] if read else None, page.has_more
        assert read == ids
        if ids:
            page = messages.page_for(
                EVERYTHING, self.id, limit, before=ids[-1], descending=down, branch=branch
            )
            self.check_rows(page.rows, ids[:-1][-limit:])
            assert page.has_more == (len(ids) - 1 > limit)


NUMBER = st.integers(0, 11)
TEXT = st.text("ab👋", max_size=4)
TEXTS = st.lists(TEXT, min_size=1, max_size=3)
HAPPENINGS: dict[str, tuple[Any, ...]] = {
    "append": (TEXTS, st.sampled_from(["completed", "completed", "in_progress"])),
    "branch": (NUMBER, TEXTS),
    "plant": (TEXT,),
    "edit": (NUMBER, TEXT),
    "reopen": (NUMBER,),
    "write": (NUMBER, TEXT, st.sampled_from([None, None, "completed", "incomplete"])),
    "fall_silent": (),
    "delete": (NUMBER,),
    "delete_leaf": (),
    "switch": (NUMBER,),
    "fork": (st.none() | NUMBER,),
    "follow": (st.integers(0, 1), st.none() | st.integers(0, 3000)),
    "join": (st.integers(0, 1),),
}
OFTEN = [*HAPPENINGS, *["append", "branch", "delete", "switch", "follow"] * 3]
HAPPENING = st.sampled_from(OFTEN).flatmap(lambda name: st.tuples(st.just(name), *HAPPENINGS[name]))


def test_all_ways_to_read_a_tree_agree(
    clock: Clock,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    @hypothesis.settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @hypothesis.given(
        batch=st.integers(1, 6),
        limit=st.integers(1, 4),
        happenings=st.lists(HAPPENING, min_size=10, max_size=40),
    )
    def play(batch: int, limit: int, happenings: list[tuple[Any, ...]]) -> None:
        monkeypatch.setattr(events, "BATCH_ROWS", batch)
        story = Story(clock)
        for name, *arguments in happenings:
            getattr(story, name)(*arguments)
            story.check_follower(Follower(story.id))
        story.check(limit)

    # Without fsync a commit is ten times as fast, and this test cuts no power.
    configure(database_url=f"sqlite:///{tmp_path}/confab.db?synchronous=off")
    open_store(settings())
    play()
    database.obj.close_all()
