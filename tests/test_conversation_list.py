"""Tests the list of `/api/v1/conversations`, which is paged by number or by cursor."""

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playhouse.test_utils import assert_query_count

from db import conversations, messages, transcripts
from db.engine.database import database
from db.messages import Draft
from db.models import ConversationRow
from db.scope import EVERYTHING
from handlers.conversations import CONVERSATIONS, ConversationListQuery, list_conversations
from handlers.http import cursors
from handlers.http.caller import Caller
from handlers.http.cursors import Cursor
from handlers.http.problems import Problem

from .support.clients import Answer, Api, assert_problem
from .support.world import OTHER_PROJECT, PROJECT
from .support.writer import Writer

FIELDS = [
    *("id", "project_id", "title", "messages", "created_at", "updated_at"),
    *("user_id", "key", "is_archived", "is_pinned", "is_held", "tags", "metadata"),
    "last_message_id",
]


def create(caller: Caller, project_id: str = PROJECT) -> str:
    return conversations.start(caller.scope, project_id).id


def listed(caller: Caller, **query: object) -> list[str]:
    page = list_conversations(caller, ConversationListQuery(**query)).body
    assert page.total == len(page.conversations)
    return [conversation.id for conversation in page.conversations]


def say(id: str, *contents: str) -> str:
    """Append messages, and return the newest one's id."""
    drafts = [Draft("user", content) for content in contents]
    return messages.append(EVERYTHING, id, drafts)[-1].id


def test_a_list_has_the_newest_first_with_their_messages(anyone: Caller):
    ids = [create(anyone) for _ in range(3)]
    say(ids[0], "one")
    say(ids[2], "two", "three")
    page = list_conversations(anyone, ConversationListQuery()).body
    assert [shown.id for shown in page.conversations] == ids[::-1]
    contents = [[message.content for message in shown.messages] for shown in page.conversations]
    assert contents == [["two", "three"], [], ["one"]]


def test_a_list_has_the_documented_fields_in_order(api: Api, anyone: Caller):
    create(anyone)
    answer = api.get(f"{CONVERSATIONS}/", project_id=PROJECT, skip=0, limit=20)
    assert answer.status == 200
    assert list(answer.json) == ["conversations", "total", "skip", "limit"]
    assert list(answer.json["conversations"][0]) == FIELDS
    assert (answer.json["total"], answer.json["skip"], answer.json["limit"]) == (1, 0, 20)


def test_an_empty_list(api: Api):
    answer = api.get(CONVERSATIONS)
    assert answer.json == {"conversations": [], "total": 0, "skip": 0, "limit": 100}
    assert "link" not in answer.headers


def test_a_list_covers_one_project_or_all_that_the_caller_may_see(
    alice: Caller, bob: Caller, anyone: Caller
):
    hers, his = create(alice), create(bob)
    elsewhere = create(anyone, OTHER_PROJECT)
    assert listed(anyone) == [elsewhere, his, hers]
    assert listed(anyone, project_id=PROJECT) == [his, hers]
    assert listed(anyone, project_id=OTHER_PROJECT.upper()) == [elsewhere]
    assert listed(alice) == listed(alice, project_id=PROJECT) == [hers]
    with pytest.raises(Problem, match="does not open project"):
        listed(alice, project_id=OTHER_PROJECT)


def test_without_messages_no_message_row_is_read(anyone: Caller):
    say(create(anyone), "one")
    query = ConversationListQuery(include_messages=False)
    with assert_query_count(1):
        page = list_conversations(anyone, query).body
    assert [conversation.messages for conversation in page.conversations] == [[]]


def test_archived_ones_are_listed_too(anyone: Caller):
    id = create(anyone)
    conversations.change(EVERYTHING, id, is_archived=True)
    assert listed(anyone) == [id]


@pytest.mark.parametrize("project_id", [None, PROJECT])
def test_pages_by_number_show_each_conversation_once(
    anyone: Caller, alice: Caller, project_id: str | None
):
    ids = [create(alice) for _ in range(7)][::-1]
    for caller in (anyone, alice):
        for limit in (1, 3, 7, 100):
            pages = [
                listed(caller, project_id=project_id, skip=skip, limit=limit)
                for skip in range(0, 8, limit)
            ]
            assert [id for page in pages for id in page] == ids
        assert listed(caller, project_id=project_id, skip=7) == []
        assert listed(caller, project_id=project_id, skip=2**53 - 1) == []


def links_of(answer: Answer) -> dict[str, str]:
    """The targets of the Link header by their relation."""
    found = re.findall('<([^>]*)>; rel="(next|prev)"', answer.headers.get("link", ""))
    return {relation: target for target, relation in found}


def ids_of(answer: Answer) -> list[str]:
    return [conversation["id"] for conversation in answer.json["conversations"]]


def walk(api: Api, path: str, relation: str) -> tuple[list[list[str]], Answer]:
    """Follow the links from a page to the last one. Return the ids on each, and the last."""
    answer = api.get(path)
    pages = [ids_of(answer)]
    while target := links_of(answer).get(relation):
        answer = api.get(target)
        pages.append(ids_of(answer))
    return pages, answer


def test_links_by_number_lead_to_the_neighbouring_pages(api: Api, anyone: Caller):
    ids = [create(anyone) for _ in range(5)][::-1]
    path = f"{CONVERSATIONS}?project_id={PROJECT}&include_messages=false&limit=2&skip=0"
    pages, last = walk(api, path, "next")
    assert pages == [ids[:2], ids[2:4], ids[4:]]
    assert last.json["skip"] == 4
    assert "prev" not in links_of(api.get(path))
    back = api.get(links_of(last)["prev"]).json
    assert [conversation["id"] for conversation in back["conversations"]] == ids[2:4]
    assert back["conversations"][0]["messages"] == []


@pytest.mark.parametrize("limit", [1, 7])
@pytest.mark.parametrize("user", [None, "alice"])
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"project_id": PROJECT},
        {"sort": "activity"},
        {"is_archived": "true"},
        {"is_archived": "false", "is_pinned": "false", "sort": "activity"},
        {"is_pinned": "true", "project_id": PROJECT},
        {"tag": "work"},
        {"tag": ["work", "home"], "sort": "activity"},
        {"tag": ["home", "work"], "is_pinned": "false", "project_id": PROJECT},
    ],
    ids=str,
)
def test_links_by_cursor_lead_through_the_same_list_both_ways(
    api: Api, alice: Caller, query: dict[str, object], user: str | None, limit: int
):
    api.headers["X-User-Id"] = user
    rows = []
    with database.atomic():
        for number in range(14):
            tags = [["work"], ["home"], ["work", "home"], []][number % 4]
            row = conversations.start(alice.scope, PROJECT, tags=tags)
            flags = {"is_archived": number % 3 == 0, "is_pinned": number % 2 == 0}
            rows.append(conversations.change(alice.scope, row.id, **flags))
        last_active = {row.id: row.id for row in rows}
        for row in rows[::5]:
            last_active[row.id] = say(row.id, "Hello")
    database.close()

    wanted = [row for row in rows if is_let_through(row, query)]
    by = last_active if query.get("sort") == "activity" else {row.id: row.id for row in rows}
    ordered = [row.id for row in sorted(wanted, key=lambda row: by[row.id], reverse=True)]
    path = f"{CONVERSATIONS}?{urlencode({**query, 'limit': limit}, doseq=True)}"
    pages, last = walk(api, path, "next")
    assert [id for page in pages for id in page] == ordered
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert "prev" not in links_of(api.get(path))
    if len(pages) > 1:
        back, first = walk(api, links_of(last)["prev"], "prev")
        assert back[::-1] == pages[:-1]
        assert ids_of(api.get(links_of(first)["next"])) == pages[1]


def is_let_through(row: ConversationRow, query: dict[str, object]) -> bool:
    for flag in ("is_archived", "is_pinned"):
        if flag in query and getattr(row, flag) != (query[flag] == "true"):
            return False
    wanted = query.get("tag", [])
    tags = [wanted] if isinstance(wanted, str) else wanted
    return set(tags) <= set(row.tags or ())


def test_what_does_not_move_is_listed_once_while_others_move(api: Api, anyone: Caller):
    ids = [create(anyone) for _ in range(8)][::-1]
    first = api.get(CONVERSATIONS, sort="activity", limit=3)
    for id in (ids[1], ids[6]):  # one that was shown, and one that was not
        say(id, "Hello")
    database.close()
    pages, _ = walk(api, links_of(first)["next"], "next")
    assert [id for page in pages for id in page] == [ids[3], ids[4], ids[5], ids[7]]
    assert listed(anyone, sort="activity") == [ids[6], ids[1], ids[0], *ids[2:6], ids[7]]


def test_a_place_in_the_list_stays_when_its_conversation_is_deleted(api: Api, anyone: Caller):
    ids = [create(anyone) for _ in range(4)][::-1]
    target = links_of(api.get(CONVERSATIONS, limit=2))["next"]
    for id in ids[1:3]:
        conversations.remove(EVERYTHING, id)
    database.close()
    assert ids_of(api.get(target)) == ids[3:]


def test_activity_is_moved_by_appended_messages_alone(anyone: Caller):
    old, new = create(anyone), create(anyone)
    (id,) = [row.id for row in messages.append(EVERYTHING, old, [Draft("user", "Hello")])]
    assert listed(anyone, sort="activity") == [old, new]
    first, second = [say(new, "one"), say(new, "two")]
    assert listed(anyone, sort="activity") == [new, old]
    writer = Writer(old)
    assert listed(anyone, sort="activity") == [old, new]
    say(new, "three")
    writer.append("Hel")
    writer.append("lo", "completed")
    messages.edit(EVERYTHING, old, id, content="Edited")
    fields = {"title": "New", "is_pinned": True, "tags": ["work"], "metadata": {"n": 1}}
    transcripts.change(EVERYTHING, old, last_message_id=id, **fields)
    messages.remove(EVERYTHING, old, writer.id)
    assert listed(anyone, sort="activity") == [new, old]
    for gone in (second, first):
        messages.remove(EVERYTHING, new, gone)
    messages.remove(EVERYTHING, new, conversations.find(EVERYTHING, new).last_message_id)
    assert listed(anyone, sort="activity") == [new, old]


def test_a_fork_is_new_activity_of_the_new_one(anyone: Caller):
    origin, other = create(anyone), create(anyone)
    say(origin, "one")
    say(other, "two")
    fork = transcripts.fork(EVERYTHING, origin).conversation.id
    assert listed(anyone, sort="activity") == [fork, other, origin]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"sort": "activity"}),
        ({}, {"project_id": PROJECT}),
        ({"is_archived": "true"}, {"is_archived": "false"}),
        ({"is_pinned": "false"}, {}),
        ({"tag": "work"}, {"tag": "home"}),
        ({"tag": ["work", "home"]}, {"tag": "work"}),
    ],
    ids=str,
)
def test_a_cursor_of_another_list_is_refused(
    api: Api, anyone: Caller, one: dict[str, object], other: dict[str, object]
):
    for flag in (True, False):
        for _ in range(2):
            id = conversations.start(anyone.scope, PROJECT, tags=["work", "home"]).id
            conversations.change(EVERYTHING, id, is_archived=flag)
    database.close()
    for asked, refused in ((one, other), (other, one)):
        target = links_of(api.get(CONVERSATIONS, **asked, limit=1))["next"]
        cursor = parse_qs(urlsplit(target).query)["cursor"]
        answer = api.get(CONVERSATIONS, **refused, cursor=cursor)
        problem = assert_problem(answer, 422, "invalid")
        assert problem["errors"][0]["loc"] == ["query", "cursor"]
        assert api.get(CONVERSATIONS, **asked, cursor=cursor, limit=7).status == 200


@pytest.mark.parametrize("cursor", ["", "x", "!", "AAAA", "A" * 40, "é", "a" * 5_000])
def test_a_cursor_that_was_never_given_out_is_refused(api: Api, cursor: str):
    problem = assert_problem(api.get(CONVERSATIONS, cursor=cursor), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["query", "cursor"]


@pytest.mark.usefixtures("either_store")
@pytest.mark.parametrize(
    "inside", [Cursor("sideways", "x"), Cursor("limit", "5"), Cursor("after", "a\0b")], ids=str
)
def test_a_cursor_that_was_tampered_with_is_refused(anyone: Caller, inside: Cursor):
    cursor = cursors.encode(ConversationListQuery().asked, inside)
    with pytest.raises(Problem, match="cursor"):
        listed(anyone, cursor=cursor)


def test_a_cursor_excludes_skip(api: Api, anyone: Caller):
    for _ in range(2):
        create(anyone)
    database.close()
    target = links_of(api.get(CONVERSATIONS, limit=1))["next"]
    for skip in (0, 1):
        answer = api.get(f"{target}&skip={skip}")
        assert "cannot be combined" in assert_problem(answer, 422, "invalid")["detail"]


@pytest.mark.parametrize(
    ("skip", "previous"), [(1, 0), (2, 0), (3, 1)], ids=["overlapping", "first", "second"]
)
def test_the_previous_page_never_begins_before_the_first(anyone: Caller, skip: int, previous: int):
    create(anyone)
    reply = list_conversations(anyone, ConversationListQuery(skip=skip, limit=2))
    assert reply.headers["Link"] == f'<{CONVERSATIONS}?skip={previous}&limit=2>; rel="prev"'


@pytest.mark.parametrize(
    "query",
    [
        {"skip": -1}, {"skip": 2**53}, {"skip": "1.5"}, {"limit": 0}, {"limit": 1001},
        {"limit": "x"}, {"limit": [1, 2]}, {"project_id": "x"}, {"offset": 1},
        {"include_messages": "perhaps"}, {"sort": "age"}, {"is_pinned": "perhaps"}, {"tag": " "},
        {"tag": "x" * 65},
    ],
)  # fmt: skip
def test_a_list_that_is_invalid_is_refused(api: Api, query: dict[str, object]):
    problem = assert_problem(api.get(CONVERSATIONS, **query), 422, "invalid")
    assert [error["loc"] for error in problem["errors"]] == [["query", *query]]


@pytest.mark.parametrize("skip", [0, 10])
@pytest.mark.parametrize("limit", [1, 50])
def test_a_list_takes_the_same_number_of_queries_at_any_size(anyone: Caller, skip: int, limit: int):
    for _ in range(60):
        say(create(anyone), "one", "two")
    query = ConversationListQuery(skip=skip, limit=limit)
    with assert_query_count(3 if skip else 2):  # the first row, the conversations, their messages
        page = list_conversations(anyone, query).body
    assert [len(shown.messages) for shown in page.conversations] == [2] * limit
