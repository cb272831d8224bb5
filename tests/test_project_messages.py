"""Tests `/projects/{project_id}/conversations/{conversation_id}/messages`."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from db import conversations, messages, transcripts
from db.clock import new_id
from db.engine.database import database
from db.errors import ConversationNotFound
from db.messages import Draft
from db.models import Conversation, Message
from db.scope import EVERYTHING, Scope
from handlers.http.caller import Caller
from handlers.http.problems import Problem
from handlers.http.types import Uuid7
from handlers.projects import (
    ProjectMessagePage,
    ProjectMessageQuery,
    ProjectMessagesCreate,
    append_project_messages,
    list_project_messages,
)

from .support.clients import Answer, Api, assert_problem
from .support.clock import Clock
from .support.readers import Reader
from .support.threads import at_once
from .support.world import OTHER_PROJECT, PROJECT, dump

PAGE_FIELDS = ["data", "has_more", "first_id", "last_id"]
FIELDS = [
    "id", "type", "created_at", "parent_id", "metadata", "conversation_id", "role", "content",
    "attachments",
]  # fmt: skip
HELLO = {"role": "user", "content": "Hello"}


def path(conversation_id: str, project: str = PROJECT) -> str:
    return f"/projects/{project}/conversations/{conversation_id}/messages"


def say(conversation_id: str, *contents: str, **draft: Any) -> list[str]:
    drafts = [Draft("user", content, **draft) for content in contents]
    return [row.id for row in messages.append(EVERYTHING, conversation_id, drafts)]


def page(conversation_id: str, **query: Any) -> ProjectMessagePage:
    caller = Caller(Scope(PROJECT))
    return list_project_messages(caller, PROJECT, conversation_id, ProjectMessageQuery(**query))


def contents(page: ProjectMessagePage) -> str:
    return "".join(str(message.content) for message in page.data)


def post(caller: Caller, conversation_id: str, *batch: Any, user_id: str | None = None) -> Any:
    body = ProjectMessagesCreate(messages=list(batch) or [HELLO], user_id=user_id)
    return append_project_messages(caller, PROJECT, conversation_id, body)


# Reading


def test_a_page_has_the_documented_fields_in_order(api: Api, conversation_id: str):
    parts = [{"type": "text", "text": "Hi"}]
    drafts = [Draft("user", parts, metadata={"n": 1}), Draft("assistant", "Hello")]
    first, second = messages.append(EVERYTHING, conversation_id, drafts)
    database.close()
    answer = api.get(path(conversation_id))
    assert answer.status == 200
    assert list(answer.json) == PAGE_FIELDS
    assert [list(message) for message in answer.json["data"]] == [FIELDS] * 2
    seconds = int(datetime.fromisoformat(first.created_at).timestamp())
    assert answer.json["data"][0] == {
        "id": first.id,
        "type": "message",
        "created_at": seconds,
        "parent_id": None,
        "metadata": {"n": 1},
        "conversation_id": conversation_id,
        "role": "user",
        "content": parts,
        "attachments": [],
    }
    told = answer.json["data"][1]
    assert (told["parent_id"], told["metadata"], told["content"]) == (first.id, None, "Hello")
    assert (answer.json["first_id"], answer.json["last_id"]) == (first.id, second.id)
    assert answer.json["has_more"] is False


def test_an_empty_conversation_is_an_empty_page(api: Api, conversation_id: str):
    empty = {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert api.get(path(conversation_id)).json == empty


def test_the_active_branch_is_shown_from_root_to_leaf(conversation_id: str):
    a, b, _ = say(conversation_id, *"abc")
    say(conversation_id, "d", parent_id=a)
    say(conversation_id, *"ef")
    assert contents(page(conversation_id)) == "adef"
    transcripts.change(EVERYTHING, conversation_id, last_message_id=b)
    shown = page(conversation_id)
    assert contents(shown) == "ab"
    assert [message.parent_id for message in shown.data] == [None, a]


def test_a_page_has_20_messages_by_default(conversation_id: str):
    say(conversation_id, *(["x"] * 21))
    first = page(conversation_id)
    assert (len(first.data), first.has_more) == (20, True)
    assert len(page(conversation_id, limit=100).data) == 21


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_pages_go_on_towards_the_leaf_and_back(conversation_id: str, limit: int):
    root, *_ = say(conversation_id, *"axx")
    say(conversation_id, "b", parent_id=root)
    say(conversation_id, *"cdef")
    pages = [page(conversation_id, limit=limit)]
    while pages[-1].has_more:
        pages.append(page(conversation_id, limit=limit, after=pages[-1].last_id))
    assert "".join(map(contents, pages)) == "abcdef"
    assert page(conversation_id, after=pages[-1].last_id).data == []
    parents = [message.parent_id for shown in pages for message in shown.data]
    ids = [message.id for shown in pages for message in shown.data]
    assert parents == [None, *ids[:-1]]
    back = page(conversation_id, limit=limit, before=ids[-1])
    assert contents(back) == "abcde"[-limit:]
    assert back.has_more == (limit < 5)


def test_a_deleted_message_is_still_a_cursor(conversation_id: str):
    ids = say(conversation_id, *"abcd")
    messages.remove(EVERYTHING, conversation_id, ids[1])
    assert contents(page(conversation_id, after=ids[1])) == "cd"
    assert contents(page(conversation_id, before=ids[1])) == "a"


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 101}, {"after": "x"}, {"skip": 1}, {"order": "desc"},
        {"branch": "all"}, {"after": PROJECT, "before": PROJECT},
    ],
    ids=str,
)  # fmt: skip
def test_a_page_that_is_invalid_is_refused(api: Api, conversation_id: str, query: dict[str, Any]):
    assert_problem(api.get(path(conversation_id), **query), 422, "invalid")


def test_a_conversation_is_read_in_its_own_project_by_its_own_user(
    alice: Caller, bob: Caller, anyone: Caller
):
    hers = conversations.start(alice.scope, PROJECT).id
    elsewhere = conversations.start(EVERYTHING, OTHER_PROJECT).id
    query = ProjectMessageQuery()
    assert list_project_messages(alice, PROJECT, hers, query).data == []
    for caller, id in ((bob, hers), (anyone, elsewhere), (anyone, new_id())):
        with pytest.raises(ConversationNotFound):
            list_project_messages(caller, PROJECT, id, query)


# Writing


def test_messages_are_appended_and_answered_as_a_page(api: Api, conversation_id: str):
    (leaf,) = say(conversation_id, "before")
    database.close()
    batch = [HELLO, {"role": "assistant", "content": [{"type": "x"}], "metadata": {"n": 1}}]
    answer = api.post(path(conversation_id), {"messages": batch})
    assert answer.status == 201
    assert list(answer.json) == PAGE_FIELDS
    first, second = answer.json["data"]
    assert list(first) == FIELDS
    assert (first["parent_id"], second["parent_id"]) == (leaf, first["id"])
    assert (second["content"], second["metadata"]) == ([{"type": "x"}], {"n": 1})
    assert (answer.json["first_id"], answer.json["last_id"]) == (first["id"], second["id"])
    assert answer.json["has_more"] is False
    assert api.get(path(conversation_id), after=leaf).json == answer.json
    stored = api.get(f"/api/v1/conversations/{conversation_id}").json["messages"]
    assert [message["status"] for message in stored] == ["completed"] * 3


def test_a_batch_may_be_appended_below_any_message(anyone: Caller, conversation_id: str):
    root, _ = say(conversation_id, "a", "b")
    post(anyone, conversation_id, {**HELLO, "content": "c", "parent_id": root}, HELLO)
    assert contents(page(conversation_id)) == "acHello"
    post(anyone, conversation_id, {**HELLO, "content": "d", "parent_id": None})
    assert contents(page(conversation_id)) == "d"


def test_a_conversation_is_created_under_an_id_that_its_client_chose(
    api: Api, alice: Caller, bob: Caller
):
    id = new_id()
    answer = api.post(path(id), {"messages": [HELLO]}, headers={"X-User-Id": "alice"})
    assert answer.status == 201
    assert answer.json["data"][0]["conversation_id"] == id
    row = conversations.find(alice.scope, id)
    assert (row.project_id, row.user_id, row.title, row.key) == (PROJECT, "alice", None, None)
    assert row.last_message_id == answer.json["last_id"]
    assert row.created_at == row.updated_at
    post(alice, id)
    assert len(page(id).data) == 2


def test_a_conversation_that_is_made_again_under_its_id_has_new_versions(
    api: Api, configure: Callable[..., None]
):
    configure(trash_days=0)
    id = new_id()
    path, one = f"/projects/p/conversations/{id}/messages", f"/api/v1/conversations/{id}"
    seen, told = [], []
    for text in ("first", "second"):
        body = {"messages": [{"role": "user", "content": text}]}
        assert api.post(path, body).status == 201
        seen.append(api.get(one).headers["etag"])
        told.append(Reader(told[0].last_event_id if told else 0))
        since = {"Last-Event-ID": str(told[-1].last_event_id)}
        told[-1].receive(api.get(f"{one}/events", headers=since).body)
        assert [row["content"] for row in told[-1].messages.values()] == [text]
        assert [row["content"] for row in api.get(path).json["data"]] == [text]
        if text == "first":
            assert api.delete(one).status == 204
    assert api.get(one, headers={"If-None-Match": seen[0]}).status == 200
    assert seen[0] != seen[1]


def test_an_id_is_the_same_in_any_spelling(api: Api):
    id = new_id()
    for spelling in (id.upper(), id.replace("-", ""), id):
        assert api.post(path(spelling), {"messages": [HELLO]}).status == 201
    assert len(page(id).data) == 3


def test_a_project_may_be_called_anything(api: Api):
    id = new_id()
    assert api.post(path(id, "a%2Fb%20%C3%BC"), {"messages": [HELLO]}).status == 201
    assert conversations.find(EVERYTHING, id).project_id == "a/b ü"
    assert len(api.get(path(id, "a%2Fb%20%C3%BC")).json["data"]) == 1


@pytest.mark.parametrize("owner", ["alice", "bob", None])
def test_what_another_one_has_does_not_exist_and_is_not_made(
    alice: Caller, bob: Caller, anyone: Caller, owner: str | None
):
    id = conversations.start(Scope(PROJECT, owner), PROJECT).id
    elsewhere = conversations.start(EVERYTHING, OTHER_PROJECT).id
    database.close()
    before = dump()
    callers = [caller for caller in (alice, bob) if caller.scope.user_id != owner]
    for caller, other in [*((caller, id) for caller in callers), (anyone, elsewhere)]:
        with pytest.raises(ConversationNotFound):
            post(caller, other)
    assert dump() == before


@pytest.mark.parametrize(
    "id",
    [
        "x",
        "550e8400-e29b-41d4-a716-446655440000",  # version 4
        "0198c5a6-0000-7000-0000-000000000001",  # another variant
        "ffffffff-ffff-7fff-bfff-ffffffffffff",  # in the far future
    ],
)
def test_an_id_that_is_no_uuidv7_is_refused(api: Api, id: str):
    problem = assert_problem(api.post(path(id), {"messages": [HELLO]}), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["path", "conversation_id"]
    assert Conversation.select().count() == 0


def test_a_clients_clock_may_be_ahead_by_a_day(clock: Clock):
    chosen: TypeAdapter[str] = TypeAdapter(Uuid7)
    clock.move(seconds=86_000)
    id = new_id()
    assert chosen.validate_python(id) == id
    clock.move(seconds=1_000)
    with pytest.raises(ValidationError, match="future"):
        chosen.validate_python(new_id())


def test_a_conversation_is_created_with_all_its_messages_or_not_at_all(api: Api):
    before = dump()
    for bad in (
        {**HELLO, "parent_id": PROJECT},
        {**HELLO, "metadata": {"n": "x"}, "content": 7},
    ):
        answer = api.post(path(new_id()), {"messages": [HELLO, bad]})
        assert_problem(answer, 422, "invalid")
    assert dump() == before


# The user


def test_a_user_may_be_named_in_the_body(anyone: Caller, alice: Caller, bob: Caller):
    id = new_id()
    post(anyone, id, user_id="alice")
    assert conversations.find(EVERYTHING, id).user_id == "alice"
    post(alice, id, user_id="alice")
    with pytest.raises(ConversationNotFound):
        post(anyone, id, user_id="bob")
    assert len(page(id).data) == 2


def test_a_body_must_not_contradict_the_header(api: Api, conversation_id: str):
    before = dump()
    for id in (conversation_id, new_id()):
        body = {"messages": [HELLO], "user_id": "bob"}
        answer = api.post(path(id), body, headers={"X-User-Id": "alice"})
        assert_problem(answer, 403, "other-user")
    assert dump() == before


def test_a_user_in_the_body_narrows_a_key_for_the_whole_project(
    anyone: Caller, conversation_id: str
):
    """The conversation is nobody's, so this user has it not."""
    with pytest.raises(ConversationNotFound):
        post(anyone, conversation_id, user_id="alice")
    assert Message.select().count() == 0


def test_a_key_for_another_project_does_not_open_this_one(conversation_id: str):
    with pytest.raises(Problem, match="does not open project"):
        post(Caller(Scope(OTHER_PROJECT)), conversation_id)


# What is refused, and what is repeated


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [HELLO] * 101},
        {"messages": HELLO},
        {"messages": [{**HELLO, "status": "completed"}]},
        {"messages": [{**HELLO, "attachments": []}]},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{**HELLO, "client_id": "a"}, HELLO]},
        {"messages": [{**HELLO, "client_id": "a"}] * 2},
        {"messages": [HELLO], "user_id": ""},
        {"messages": [HELLO], "user_id": " "},
        {"messages": [HELLO], "user_id": "x" * 256},
        {"messages": [HELLO], "user_id": "a\0b"},
        {"messages": [HELLO], "title": "x"},
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_body_that_is_invalid_is_refused(body: dict[str, Any]):
    with pytest.raises(ValidationError):
        ProjectMessagesCreate(**body)


def test_a_batch_that_is_sent_again_is_stored_once(api: Api):
    id = new_id()
    body = {"messages": [{**HELLO, "client_id": "a"}, {**HELLO, "client_id": "b"}]}
    first = api.post(path(id), body)
    second = api.post(path(id), body)
    assert (first.status, second.status) == (201, 200)
    assert second.json == first.json
    assert second.headers["idempotent-replayed"] == "true"
    other = {"messages": [{**HELLO, "content": "Bye", "client_id": "a"}]}
    assert_problem(api.post(path(id), other), 409, "client-id-reused")
    api.delete(f"/api/v1/conversations/{id}/messages/{first.json['first_id']}")
    assert_problem(api.post(path(id), body), 410, "message-deleted")


def test_both_apis_know_the_same_client_ids(api: Api):
    id = new_id()
    made = api.post(path(id), {"messages": [{**HELLO, "client_id": "a"}]}).json
    again: Answer = api.post(f"/api/v1/conversations/{id}/messages", {**HELLO, "client_id": "a"})
    assert (again.status, again.json["id"]) == (200, made["first_id"])


@pytest.mark.usefixtures("either_store")
def test_of_many_requests_at_once_one_creates_the_conversation_and_all_append(alice: Caller):
    id = new_id()
    batches = [[{**HELLO, "content": str(number)}] * 2 for number in range(8)]
    replies = at_once(*(partial(post, alice, id, *batch) for batch in batches))
    assert [reply.status or 201 for reply in replies] == [201] * 8
    assert Conversation.select().count() == 1
    kept = [row.content for row in messages.page_for(EVERYTHING, id).rows]
    assert sorted(kept) == sorted(str(number) for number in range(8) for _ in range(2))
    assert kept[::2] == kept[1::2]
