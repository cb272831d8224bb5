"""Tests lists of conversations: by age and by activity, with every filter, while others write."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Event
from urllib.parse import parse_qs, urlsplit

import pytest

from db import conversations, lists, messages
from db.engine.database import database
from db.lists import ACTIVITY, CREATED, Filter
from db.messages import Draft
from db.models import ConversationRow
from db.scope import EVERYTHING, Scope

from .support.clients import Api
from .support.world import PROJECT

FLAGS = (None, False, True)
TAG_FILTERS = ((), ("work",), ("rare",), ("work", "rare"), ("nobody's",))
SCOPES = [
    EVERYTHING,
    Scope("a"),
    Scope("b", "alice"),
    Scope(None, "alice"),
    Scope("nowhere"),
    Scope("a", "nobody"),
]


def say(id: str, content: str = "Hello") -> str:
    (row,) = messages.append(EVERYTHING, id, [Draft("user", content)])
    return row.id


def make_many(count: int) -> list[ConversationRow]:
    """Conversations of two projects and three users, or nobody, with all flags and tags."""
    chance = random.Random(1)
    ids = []
    with database.atomic():
        for _ in range(count):
            user = chance.choice([None, "alice", "bob", "carol"])
            tags = [
                tag for tag, share in (("work", 2), ("rare", 9)) if chance.randrange(share) == 0
            ]
            project = chance.choice("ab")
            ids.append(conversations.start(Scope(project, user), project, tags=tags).id)
        for id in chance.choices(ids, k=2 * count):
            chance.choice([say, flag, retag])(id)
        return [conversations.find(EVERYTHING, id) for id in ids]


def flag(id: str) -> None:
    name = random.choice(["is_archived", "is_pinned"])
    conversations.change(EVERYTHING, id, **{name: random.random() < 0.5})


def retag(id: str) -> None:
    conversations.change(EVERYTHING, id, tags=random.choice([[], ["work"], ["rare", "work"]]))


def expected(rows: list[ConversationRow], scope: Scope, which: Filter, sort: str) -> list[str]:
    """The slow reference: look at every row, and sort."""
    found = [
        row
        for row in rows
        if scope.covers(row)
        and which.is_archived in (None, bool(row.is_archived))
        and which.is_pinned in (None, bool(row.is_pinned))
        and set(which.tags) <= set(row.tags or ())
    ]
    found.sort(key=lambda row: row.id if sort == CREATED else row.activity, reverse=True)
    return [row.id for row in found]


def key_of(row: ConversationRow, sort: str) -> str:
    return row.id if sort == CREATED else row.activity


def pages(scope: Scope, which: Filter, sort: str, limit: int) -> Iterator[list[ConversationRow]]:
    after, has_more = None, True
    while has_more:
        rows, has_more = lists.page_for(scope, None, which, sort, limit, after)
        yield rows
        after = key_of(rows[-1], sort) if rows else None


@pytest.mark.usefixtures("either_store")
def test_every_list_agrees_with_a_slow_reference():
    rows = make_many(60)
    shapes = product(SCOPES, FLAGS, FLAGS, TAG_FILTERS, (CREATED, ACTIVITY))
    for scope, is_archived, is_pinned, tags, sort in shapes:
        which = Filter(is_archived, is_pinned, tags)
        wanted = expected(rows, scope, which, sort)
        read = [row.id for page in pages(scope, which, sort, 7) for row in page]
        assert read == wanted, (scope, which, sort)
        skipped = lists.newest(scope, None, which, sort, skip=2, limit=3)
        assert [row.id for row in skipped.rows] == wanted[2:5]
        assert skipped.has_more == (len(wanted) > 5)
        if len(wanted) > 4:
            last = conversations.find(EVERYTHING, wanted[4])
            back = lists.page_for(scope, None, which, sort, 3, before=key_of(last, sort))
            assert [row.id for row in back.rows] == wanted[1:4]
            assert back.has_more
            oldest = lists.page_for(scope, None, which, sort, 3, ascending=True)
            assert [row.id for row in oldest.rows] == wanted[:-4:-1]
            assert oldest.has_more
            place = {"before": key_of(last, sort), "ascending": True}
            older = lists.page_for(scope, None, which, sort, 3, **place)
            assert [row.id for row in older.rows] == wanted[:4:-1][-3:]


@pytest.mark.usefixtures("either_store")
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_a_list_by_metadata_agrees_with_a_slow_reference(
    batch: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lists, "BATCH_ROWS", batch)
    values = [None, {}, {"a": "1"}, {"a": "1", "b": "\0ü"}, {"a": 1}, {"a": ["1"]}, {"a": None}]
    rows = [
        conversations.start(EVERYTHING, PROJECT, metadata=values[number % len(values)])
        for number in range(40)
    ]
    for pairs in ((("a", "1"),), (("a", "1"), ("b", "\0ü")), (("c", "1"),)):
        which = Filter(metadata=pairs)
        wanted = [
            row.id
            for row in reversed(rows)
            if all((row.metadata or {}).get(name) == value for name, value in pairs)
        ]
        for limit in (1, 3, 100):
            read = [row.id for page in pages(EVERYTHING, which, CREATED, limit) for row in page]
            assert read == wanted
        up = lists.page_for(EVERYTHING, None, which, limit=100, ascending=True)
        assert [row.id for row in up.rows] == wanted[::-1]


def test_an_appended_message_moves_its_conversation_to_the_front():
    first, second = (conversations.start(EVERYTHING, PROJECT).id for _ in range(2))
    say(first)
    assert [row.id for row in lists.newest(EVERYTHING, sort=ACTIVITY).rows] == [first, second]
    assert [row.id for row in lists.newest(EVERYTHING, sort=CREATED).rows] == [second, first]


def pin(id: str) -> None:
    conversations.change(EVERYTHING, id, is_pinned=True)


def rename(id: str) -> None:
    conversations.change(EVERYTHING, id, title="Renamed")


def edit(id: str) -> None:
    message = messages.page_for(EVERYTHING, id).rows[0].id
    messages.edit(EVERYTHING, id, message, content="Edited")


def delete_newest(id: str) -> None:
    messages.remove(EVERYTHING, id, str(conversations.find(EVERYTHING, id).last_message_id))


def tag(id: str) -> None:
    conversations.change(EVERYTHING, id, tags=["new"])


@pytest.mark.parametrize("change", [pin, rename, edit, delete_newest, tag])
def test_no_other_change_moves_it(change: Callable[[str], None]):
    first, second = (conversations.start(EVERYTHING, PROJECT).id for _ in range(2))
    say(first)
    say(second)
    change(first)
    for which in (Filter(), Filter(is_archived=False)):
        rows = lists.newest(EVERYTHING, None, which, ACTIVITY).rows
        assert [row.id for row in rows] == [second, first]


def test_a_tag_finds_what_it_was_given_to_and_no_longer_what_lost_it():
    id = conversations.start(EVERYTHING, PROJECT, tags=["one", "two"]).id
    conversations.change(EVERYTHING, id, tags=["two", "three"])
    found = {
        name: len(lists.newest(EVERYTHING, None, Filter(tags=(name,))).rows)
        for name in ("one", "two", "three")
    }
    assert found == {"one": 0, "two": 1, "three": 1}
    conversations.remove(EVERYTHING, id)
    assert lists.newest(EVERYTHING, None, Filter(tags=("two",))).rows == []
    assert database.execute_sql("SELECT count(*) FROM tag").fetchone() == (0,)


@pytest.mark.usefixtures("either_store")
def test_a_reader_sees_each_unmoved_conversation_once_while_others_move():
    """Eight writers append all the time. Each one has its conversations, and the reader's rest."""
    still = [conversations.start(EVERYTHING, PROJECT).id for _ in range(60)]
    moving = [conversations.start(EVERYTHING, PROJECT).id for _ in range(40)]
    for id in random.sample(still + moving, 100):
        say(id)
    database.close()
    done = Event()

    def write(ids: list[str]) -> int:
        count = 0
        while not done.is_set():
            say(random.choice(ids))
            count += 1
        database.close()
        return count

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, moving[number::8]) for number in range(8)]
        try:
            for _ in range(10):
                rows = [row for page in pages(EVERYTHING, Filter(), ACTIVITY, 9) for row in page]
                seen = [row.id for row in rows if row.id in still]
                assert sorted(seen) == sorted(still)
        finally:
            done.set()
        assert all(writer.result() > 0 for writer in writers)


def next_page(link: str) -> str:
    place = link.split(";", maxsplit=1)[0].strip("<>")
    assert parse_qs(urlsplit(place).query)["cursor"]
    return place


def test_the_link_of_a_page_leads_on_when_all_of_it_has_moved_meanwhile(api: Api):
    ids = [conversations.start(EVERYTHING, PROJECT).id for _ in range(6)]
    database.close()
    query = {"project_id": PROJECT, "sort": "activity", "is_archived": "false", "limit": 2}
    first = api.get("/api/v1/conversations", **query)
    assert [row["id"] for row in first.json["conversations"]] == ids[:3:-1]
    for id in ids[4:]:
        say(id)
    database.close()
    second = api.get(next_page(first.headers["link"]))
    assert [row["id"] for row in second.json["conversations"]] == [ids[3], ids[2]]
