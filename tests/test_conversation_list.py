"""Tests the list of `/api/v1/conversations`, which is paged by number."""

import re

import pytest
from playhouse.test_utils import assert_query_count

from db import conversations, messages
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.conversations import CONVERSATIONS, ConversationListQuery, list_conversations
from handlers.http.caller import Caller
from handlers.http.problems import Problem

from .support.clients import Api, assert_problem
from .support.world import OTHER_PROJECT, PROJECT

FIELDS = ["id", "project_id", "title", "messages", "created_at", "updated_at"]


def create(caller: Caller, project_id: str = PROJECT) -> str:
    return conversations.start(caller.scope, project_id).id


def listed(caller: Caller, **query: object) -> list[str]:
    page = list_conversations(caller, ConversationListQuery(**query)).body
    assert page.total == len(page.conversations)
    return [conversation.id for conversation in page.conversations]


def say(id: str, *contents: str) -> None:
    messages.append(EVERYTHING, id, [Draft("user", content) for content in contents])


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


def test_links_lead_to_the_neighbouring_pages(api: Api, anyone: Caller):
    ids = [create(anyone) for _ in range(5)][::-1]
    seen, path = [], f"{CONVERSATIONS}?project_id={PROJECT}&include_messages=false&limit=2"
    while path:
        answer = api.get(path)
        seen += [conversation["id"] for conversation in answer.json["conversations"]]
        found = re.findall('<([^>]*)>; rel="(next|prev)"', answer.headers.get("link", ""))
        links = {rel: target for target, rel in found}
        assert ("prev" in links) == (answer.json["skip"] > 0)
        last, path = path, links.get("next")
    assert seen == ids
    assert "skip=4" in last
    back = api.get(links["prev"]).json
    assert [conversation["id"] for conversation in back["conversations"]] == ids[2:4]
    assert back["conversations"][0]["messages"] == []


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
        {"include_messages": "perhaps"},
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
