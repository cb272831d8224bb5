"""Tests the pages of `/projects`: cursors lead both ways, also after deletions."""

from typing import Any

import pytest
from playhouse.test_utils import assert_query_count

from db import conversations
from db.clock import new_id
from db.scope import EVERYTHING, Scope
from handlers.http.caller import Caller
from handlers.projects import Page, PageQuery, list_project_conversations

from .support.clients import Api, assert_problem
from .support.world import PROJECT


def start(user_id: str | None = None, title: str | None = None) -> str:
    return conversations.start(Scope(PROJECT, user_id), PROJECT, title).id


def page(caller: Caller, **query: Any) -> Page:
    return list_project_conversations(caller, PROJECT, PageQuery(**query))


def ids(page: Page) -> list[str]:
    return [conversation.id for conversation in page.data]


def test_a_page_has_20_conversations_by_default(anyone: Caller):
    made = [start() for _ in range(21)]
    first = page(anyone)
    assert ids(first) == made[:0:-1]
    assert first.has_more
    assert ids(page(anyone, limit=100)) == made[::-1]


@pytest.mark.parametrize("is_archived", [None, False, True])
@pytest.mark.parametrize("user", [None, "alice"])
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_pages_show_each_conversation_once_both_ways(
    limit: int, user: str | None, is_archived: bool | None
):
    made = [start("alice") for _ in range(12)]
    for id in made[::3]:
        conversations.change(EVERYTHING, id, is_archived=True)
    if is_archived is not None:
        made = [id for n, id in enumerate(made) if (n % 3 == 0) == is_archived]
    ordered = made[::-1]
    caller = Caller(Scope(PROJECT, user), "key")
    query = {"limit": limit} | ({} if is_archived is None else {"is_archived": is_archived})

    shown = page(caller, **query)
    forwards = ids(shown)
    while shown.has_more:
        shown = page(caller, **query, after=shown.last_id)
        forwards += ids(shown)
    assert forwards == ordered
    assert ids(page(caller, **query, after=shown.last_id)) == []

    backwards = ids(shown)
    while backwards[0] != ordered[0]:
        shown = page(caller, **query, before=backwards[0])
        assert len(shown.data) == limit or not shown.has_more
        backwards = ids(shown) + backwards
    assert backwards == ordered
    assert not page(caller, **query, before=ordered[0]).has_more


@pytest.mark.parametrize(
    ("gone", "query", "expected"),
    [
        ("c", {"after": "c"}, "ba"),
        ("c", {"before": "c"}, "ed"),
        ("bcd", {"after": "c"}, "a"),
        ("bcd", {"before": "c"}, "e"),
        ("a", {"after": "a"}, ""),
        ("a", {"before": "a"}, "edcb"),
        ("e", {"before": "e"}, ""),
        ("abcde", {"after": "c"}, ""),
    ],
)
def test_a_deleted_conversation_is_still_a_cursor(
    anyone: Caller, gone: str, query: dict[str, str], expected: str
):
    made = {title: start(title=title) for title in "abcde"}
    for title in gone:
        conversations.remove(EVERYTHING, made[title])
    shown = page(anyone, **{name: made[title] for name, title in query.items()})
    assert "".join(conversation.title for conversation in shown.data) == expected


def test_an_unknown_cursor_is_placed_by_its_age(anyone: Caller):
    old = start()
    between = new_id()
    new = start()
    assert ids(page(anyone, after=between)) == [old]
    assert ids(page(anyone, before=between.upper())) == [new]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 101}, {"limit": "x"}, {"after": "x"}, {"before": ""},
        {"is_archived": "perhaps"}, {"skip": 1}, {"after": PROJECT, "before": PROJECT},
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["/projects/x/conversations", "/projects/x/sso/conversations"])
def test_a_page_that_is_invalid_is_refused(api: Api, place: str, query: dict[str, Any]):
    answer = api.get(place, headers={"X-User-Id": "alice"}, **query)
    assert_problem(answer, 422, "invalid")


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize(
    "query", [{}, {"is_archived": False}, {"after": "f" * 32}, {"before": "0" * 32}]
)
def test_a_page_is_one_query_at_any_size(anyone: Caller, limit: int, query: dict[str, Any]):
    for _ in range(110):
        start()
    with assert_query_count(1):
        shown = page(anyone, limit=limit, **query)
    assert len(shown.data) == limit
