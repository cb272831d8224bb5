"""Tests tags: what they may be, and that the lists by tag always agree with them."""

from typing import Any

import pytest
from pydantic import ValidationError

from db import conversations, messages, transcripts
from db.engine.database import database
from db.messages import Draft
from db.models import Conversation, ConversationRow, Tag
from db.scope import EVERYTHING, Scope
from handlers.conversations import (
    CONVERSATIONS,
    ConversationCreate,
    ConversationListQuery,
    ConversationPatch,
    change_conversation,
    create_conversation,
    list_conversations,
)
from handlers.http.caller import Caller
from handlers.http.preconditions import IfMatch

from .support.clients import Api, assert_problem
from .support.world import OTHER_PROJECT, PROJECT, dump


def create(caller: Caller, *tags: str, project_id: str = PROJECT) -> str:
    body = ConversationCreate(project_id=project_id, tags=list(tags))
    return create_conversation(caller, body).body.id


def change(caller: Caller, id: str, **fields: Any) -> list[str]:
    return change_conversation(caller, id, ConversationPatch(**fields), IfMatch()).body.tags


def listed(caller: Caller, *tags: str, **query: Any) -> list[str]:
    page = list_conversations(caller, ConversationListQuery(tag=list(tags), **query)).body
    return [conversation.id for conversation in page.conversations]


def assert_rows_agree() -> None:
    """Assert that the rows of the tags say what the conversations say."""
    told = [
        (row.id, name, row.project_id, row.is_archived, row.is_pinned, row.activity)
        for stored in Conversation.select().order_by(Conversation.id)
        for row in [conversations.find(EVERYTHING, stored.id)]
        for name in sorted(row.tags or ())
    ]
    rows = Tag.select().order_by(Tag.conversation_id, Tag.name)
    assert told == [
        (r.conversation_id, r.name, r.project_id, r.is_archived, r.is_pinned, r.activity)
        for r in rows
    ]


# What tags may be


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ([], []),
        (["b", "a"], ["b", "a"]),
        (["  b ", "a\n"], ["b", "a"]),
        (["b", "a", "b ", "a"], ["b", "a"]),
        (["Work", "work", "WORK"], ["Work", "work", "WORK"]),
        (["x" * 64, " " + "é" * 64 + " "], ["x" * 64, "é" * 64]),
        (
            ["👩‍👩‍👧", "a, b", "a/b", "'; DROP TABLE tag; --"],
            ["👩‍👩‍👧", "a, b", "a/b", "'; DROP TABLE tag; --"],
        ),
        ([str(number) for number in range(16)], [str(number) for number in range(16)]),
    ],
    ids=str,
)
def test_tags_are_stripped_and_keep_their_order_without_doubles(
    anyone: Caller, sent: list[str], stored: list[str]
):
    id = create(anyone, *sent)
    other = create(anyone, "other")
    assert change(anyone, other, tags=sent) == stored
    for made in (id, other):
        assert (conversations.find(EVERYTHING, made).tags or []) == stored
    assert_rows_agree()


@pytest.mark.parametrize(
    "tags",
    [
        [""], ["  "], ["x" * 65], ["a\0b"], [7], [None], ["good", ""], "work", {"work": True}, None,
        [str(number) for number in range(17)],
    ],
    ids=lambda tags: str(tags)[:30],
)  # fmt: skip
@pytest.mark.parametrize("schema", [ConversationCreate, ConversationPatch])
def test_tags_that_are_invalid_are_refused(schema: type[Any], tags: Any):
    with pytest.raises(ValidationError, match="tags"):
        schema.model_validate({"project_id": PROJECT, "tags": tags})


def test_tags_that_are_invalid_are_refused_over_http_and_nothing_is_stored(api: Api):
    made = api.post(CONVERSATIONS, {"project_id": PROJECT, "tags": ["work"]}).json
    before = dump()
    body = {"project_id": PROJECT, "tags": ["good", " "]}
    problem = assert_problem(api.post(CONVERSATIONS, body), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["body", "tags", 1]
    path = f"{CONVERSATIONS}/{made['id']}"
    assert_problem(api.patch(path, {"tags": ["x" * 65]}), 422, "invalid")
    assert dump() == before


# Changing them


def test_a_change_replaces_all_tags(anyone: Caller):
    id = create(anyone, "a", "b")
    assert change(anyone, id, tags=["b", "c"]) == ["b", "c"]
    assert change(anyone, id, title="Plans") == ["b", "c"]
    assert listed(anyone, "a") == []
    assert listed(anyone, "c") == [id]
    assert change(anyone, id, tags=[]) == []
    assert listed(anyone, "b") == []
    assert Tag.select().count() == 0


def test_the_order_of_tags_can_be_changed(anyone: Caller):
    id = create(anyone, "a", "b")
    before = conversations.find(EVERYTHING, id)
    assert change(anyone, id, tags=["b", "a"]) == ["b", "a"]
    assert conversations.find(EVERYTHING, id).version == before.version + 1


@pytest.mark.parametrize("tags", [[], ["a", "b"]], ids=str)
def test_setting_the_same_tags_changes_nothing(anyone: Caller, tags: list[str]):
    id = create(anyone, *tags)
    before = dump()
    change(anyone, id, tags=[f" {tag}" for tag in tags])
    assert dump() == before


@pytest.mark.usefixtures("no_trash")
@pytest.mark.usefixtures("either_store")
def test_the_lists_agree_with_the_tags_after_every_change():
    row = conversations.start(EVERYTHING, PROJECT, tags=["a", "b"])
    other = conversations.start(EVERYTHING, PROJECT, tags=["b"])
    messages.append(EVERYTHING, row.id, [Draft("user", "Hello")])
    assert_rows_agree()
    for changes in (
        {"is_archived": True},
        {"is_pinned": True},
        {"tags": ["c", "a"], "is_archived": False},
        {"title": "Plans"},
        {"tags": ["a", "c"]},
    ):
        conversations.change(EVERYTHING, row.id, **changes)
        assert_rows_agree()
    transcripts.fork(EVERYTHING, row.id)
    assert_rows_agree()
    conversations.remove(EVERYTHING, other.id)
    assert_rows_agree()
    assert Tag.select().count() == 4


# Lists by tag


def test_a_list_by_tags_has_those_that_have_all_of_them(anyone: Caller):
    a, ab, b, _ = create(anyone, "a"), create(anyone, "b", "a"), create(anyone, "b"), create(anyone)
    assert listed(anyone, "a") == [ab, a]
    assert listed(anyone, "b") == [b, ab]
    for tags in (("a", "b"), ("b", "a"), ("a", "b", "a"), (" a ", "b")):
        assert listed(anyone, *tags) == [ab]
    assert listed(anyone, "a", "b", "c") == []
    assert listed(anyone, "A") == listed(anyone, "unknown") == []


def test_a_list_by_tag_is_of_those_that_the_caller_may_see(
    alice: Caller, bob: Caller, anyone: Caller
):
    hers, his = create(alice, "a"), create(bob, "a")
    elsewhere = create(anyone, "a", project_id=OTHER_PROJECT)
    assert listed(alice, "a") == [hers]
    assert listed(bob, "a", project_id=PROJECT) == [his]
    assert listed(anyone, "a") == [elsewhere, his, hers]
    assert listed(anyone, "a", project_id=OTHER_PROJECT) == [elsewhere]
    assert listed(Caller(Scope(PROJECT)), "a") == [his, hers]


def test_a_list_by_tag_can_be_filtered_and_sorted_further(anyone: Caller):
    ids = [create(anyone, "a", "b" if number % 2 else "c") for number in range(6)]
    for id in ids[:3]:
        change(anyone, id, is_pinned=True)
    change(anyone, ids[1], is_archived=True)
    messages.append(EVERYTHING, ids[1], [Draft("user", "Hello")])
    assert listed(anyone, "a", is_pinned=True) == [ids[2], ids[1], ids[0]]
    assert listed(anyone, "a", is_pinned=True, sort="activity") == [ids[1], ids[2], ids[0]]
    assert listed(anyone, "a", "b", is_pinned=True, is_archived=False) == []
    assert listed(anyone, "b", "a", sort="activity", skip=1, limit=1) == [ids[5]]


def test_the_rarer_tag_leads(anyone: Caller):
    """Whichever index is read, the result is the same."""
    with database.atomic():
        common = [create(anyone, "common") for _ in range(30)]
        both = [create(anyone, "common", "rare") for _ in range(2)]
        rare = create(anyone, "rare")
    assert listed(anyone, "common", "rare") == listed(anyone, "rare", "common") == both[::-1]
    assert len(listed(anyone, "common")) == len(common) + len(both)
    assert listed(anyone, "rare") == [rare, *both[::-1]]


def test_more_than_16_tags_are_too_many_to_ask_for(api: Api):
    tags = [str(number) for number in range(17)]
    assert api.get(CONVERSATIONS, tag=tags[:16]).status == 200
    problem = assert_problem(api.get(CONVERSATIONS, tag=tags), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["query", "tag"]


def test_a_tag_of_a_query_may_have_any_characters(api: Api):
    for tag in ("a&b=c", "a+b", "50%", "Zoë 👋", "a,b"):
        made = api.post(CONVERSATIONS, {"project_id": PROJECT, "tags": [tag]}).json
        api.post(CONVERSATIONS, {"project_id": PROJECT, "tags": [tag]})
        first = api.get(CONVERSATIONS, tag=tag, limit=1)
        target = first.headers["link"].partition(">")[0].removeprefix("<")
        assert [row["id"] for row in api.get(target).json["conversations"]] == [made["id"]]


def test_a_fork_has_its_origins_tags(anyone: Caller):
    origin = create(anyone, "a", "b")
    fork: ConversationRow = transcripts.fork(EVERYTHING, origin).conversation
    assert fork.tags == ["a", "b"]
    assert listed(anyone, "b") == [fork.id, origin]
