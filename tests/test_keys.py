"""Tests the caller's own key of a conversation: it names one, however often it is sent."""

from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from db import conversations, messages, transcripts
from db.engine.database import database
from db.errors import ConversationNotFound, KeyTaken
from db.messages import Draft
from db.models import Conversation
from db.scope import EVERYTHING, Scope
from handlers.branches import ForkRequest, fork_conversation
from handlers.conversations import (
    CONVERSATIONS,
    ConversationCreate,
    ConversationResponse,
    create_conversation,
    get_or_create_conversation,
)
from handlers.http.caller import Caller
from handlers.http.endpoint import Reply
from handlers.http.problems import Problem

from .support.clients import Answer, Api, assert_problem
from .support.threads import at_once
from .support.world import OTHER_PROJECT, PROJECT, dump

HELLO = {"role": "user", "content": "Hello"}


def create(caller: Caller, key: str | None = "k", project_id: str = PROJECT, **fields: Any) -> str:
    body = ConversationCreate(project_id=project_id, key=key, **fields)
    return create_conversation(caller, body).body.id


def put(caller: Caller, path_key: str = "k", **fields: Any) -> Reply[ConversationResponse]:
    body = ConversationCreate(**{"project_id": PROJECT, **fields})
    return get_or_create_conversation(caller, path_key, body)


def put_over_http(api: Api, key: str, body: Any, **rest: Any) -> Answer:
    return api.request("PUT", f"{CONVERSATIONS}/by-key/{quote(key, safe='')}", body, **rest)


def test_a_key_is_shown_and_is_optional(anyone: Caller):
    for key in ("my key", None):
        row = conversations.find(EVERYTHING, create(anyone, key))
        assert row.key == key
        assert ConversationResponse.of(row, []).key == key


def test_any_number_of_conversations_have_no_key(anyone: Caller):
    assert len({create(anyone, None) for _ in range(3)}) == 3


def test_a_key_that_is_taken_is_a_409_that_names_its_conversation(api: Api):
    body = {"project_id": PROJECT, "key": "k"}
    first = api.post(CONVERSATIONS, body).json
    before = dump()
    for more in ({}, {"tags": ["work"]}, {"messages": [HELLO]}):
        problem = assert_problem(api.post(CONVERSATIONS, {**body, **more}), 409, "key-taken")
        assert problem["conversation_id"] == first["id"]
    assert dump() == before


def test_a_key_is_unique_within_a_project_and_a_user(alice: Caller, bob: Caller, anyone: Caller):
    """Nobody counts as a user."""
    taken = {
        create(alice): partial(create, alice),
        create(bob): partial(create, bob),
        create(anyone): partial(create, anyone),
        create(anyone, project_id=OTHER_PROJECT): partial(create, anyone, project_id=OTHER_PROJECT),
    }
    assert len(taken) == 4
    for id, create_again in taken.items():
        with pytest.raises(KeyTaken) as refused:
            create_again()
        assert refused.value.conversation_id == id


def test_keys_differ_in_case_and_in_white_space(anyone: Caller):
    assert len({create(anyone, key) for key in ("k", "K", " k", "k ", "ｋ")}) == 5


def test_a_key_is_free_again_when_its_conversation_is_deleted(anyone: Caller):
    conversations.remove(EVERYTHING, create(anyone))
    assert conversations.find(EVERYTHING, create(anyone)).key == "k"


@pytest.mark.parametrize("key", ["", "x" * 256, "a\0b", 7])
def test_a_key_that_is_no_short_text_is_refused(key: object):
    with pytest.raises(ValidationError, match="key"):
        ConversationCreate(project_id=PROJECT, key=key)
    with pytest.raises(ValidationError, match="key"):
        ForkRequest(key=key)


def test_a_key_cannot_be_changed(api: Api, anyone: Caller):
    path = f"{CONVERSATIONS}/{create(anyone)}"
    assert_problem(api.patch(path, {"key": "other"}), 422, "invalid")
    assert api.get(path).json["key"] == "k"


# By key


def test_the_first_request_creates_and_later_ones_find(api: Api):
    body = {"project_id": PROJECT, "title": "Plans", "tags": ["work"], "metadata": {"n": 1}}
    first = put_over_http(api, "k", {**body, "messages": [HELLO]})
    assert first.status == 201
    assert first.json["key"] == "k"
    assert [message["content"] for message in first.json["messages"]] == ["Hello"]
    place = f"{CONVERSATIONS}/{first.json['id']}"
    assert first.headers["location"] == place
    assert first.headers["etag"] == api.get(place).headers["etag"]
    second = put_over_http(api, "k", {**body, "messages": [HELLO]})
    assert (second.status, second.json) == (200, first.json)
    assert second.headers["location"] == place
    assert second.headers["etag"] == first.headers["etag"]


def test_one_that_exists_stays_as_it_is_and_is_shown_so(anyone: Caller):
    id = put(anyone, title="Plans", tags=["work"]).body.id
    conversations.change(EVERYTHING, id, is_archived=True)
    messages.append(EVERYTHING, id, [Draft("user", "first"), Draft("user", "second")])
    messages.append(EVERYTHING, id, [Draft("user", "another root", parent_id=None)])
    database.close()
    before = dump()
    found = put(anyone, title="Other", tags=["home"], metadata={"n": 1}, messages=[HELLO])
    assert found.status == 200
    assert (found.body.title, found.body.tags, found.body.is_archived) == ("Plans", ["work"], True)
    assert [message.content for message in found.body.messages] == ["another root"]
    assert dump() == before


def test_a_key_that_was_given_at_creation_is_found(anyone: Caller):
    id = create(anyone)
    assert put(anyone).body.id == id


def test_everybody_finds_their_own(alice: Caller, bob: Caller, anyone: Caller):
    made = [put(caller) for caller in (alice, bob, anyone)]
    assert [reply.status for reply in made] == [201] * 3
    assert [reply.body.user_id for reply in made] == ["alice", "bob", None]
    for caller, reply in zip((alice, bob, anyone), made, strict=True):
        assert put(caller).body.id == reply.body.id


def test_a_key_is_of_one_project(anyone: Caller):
    assert put(anyone).body.id != put(anyone, project_id=OTHER_PROJECT).body.id
    assert put(anyone, project_id=OTHER_PROJECT).status == 200


def test_another_project_is_not_opened(alice: Caller):
    with pytest.raises(Problem, match="does not open project"):
        put(alice, project_id=OTHER_PROJECT)
    assert Conversation.select().count() == 0


def test_a_key_in_the_body_must_be_the_paths(anyone: Caller):
    with pytest.raises(Problem) as refused:
        put(anyone, "k", key="other")
    assert refused.value.kind.status == 422
    assert refused.value.extra["errors"][0]["loc"] == ["body", "key"]
    assert Conversation.select().count() == 0
    assert put(anyone, "k", key="k").status == 201


@pytest.mark.parametrize(
    "key",
    ["my key", "Zoë 👋", "50%", "%41", "a+b", "a/b", "..", "?a=b&c", "#", "by-key", "x" * 255],
)
def test_a_key_may_be_any_text(api: Api, key: str):
    first = put_over_http(api, key, {"project_id": PROJECT})
    assert (first.status, first.json["key"]) == (201, key)
    taken = api.post(CONVERSATIONS, {"project_id": PROJECT, "key": key})
    assert_problem(taken, 409, "key-taken")
    assert put_over_http(api, key, {"project_id": PROJECT}).json == first.json


@pytest.mark.parametrize("key", ["x" * 256, "a\0b"])
def test_a_key_in_the_path_that_is_invalid_is_refused(api: Api, key: str):
    answer = put_over_http(api, key, {"project_id": PROJECT})
    assert assert_problem(answer, 422, "invalid")["errors"][0]["loc"] == ["path", "key"]


@pytest.mark.parametrize(
    "messages_sent",
    [
        [HELLO, {**HELLO, "parent_id": PROJECT}],
        [HELLO, {"role": "assistant", "content": [], "status": "in_progress"}],
    ],
    ids=["parent", "stream"],
)
def test_a_conversation_is_created_with_all_its_messages_or_not_at_all(
    api: Api, anyone: Caller, messages_sent: list[Any]
):
    before = dump()
    body = {"project_id": PROJECT, "tags": ["work"], "messages": messages_sent}
    assert_problem(put_over_http(api, "k", body), 422, "invalid")
    assert_problem(api.post(CONVERSATIONS, {**body, "key": "k"}), 422, "invalid")
    assert dump() == before
    assert put(anyone).status == 201


def test_a_conversation_that_is_deleted_while_it_is_looked_for_is_created_anew(
    anyone: Caller, monkeypatch: pytest.MonkeyPatch
):
    old = create(anyone)
    read = transcripts.read

    def read_too_late(scope: Scope, conversation_id: str) -> transcripts.Transcript:
        monkeypatch.setattr(transcripts, "read", read)
        conversations.remove(EVERYTHING, conversation_id)
        return read(scope, conversation_id)

    monkeypatch.setattr(transcripts, "read", read_too_late)
    made = put(anyone)
    assert (made.status, made.body.key) == (201, "k")
    assert made.body.id != old


@pytest.mark.usefixtures("either_store")
def test_of_many_requests_at_once_one_creates_and_all_answer_it(alice: Caller):
    replies = at_once(*[lambda: put(alice, tags=["work"], messages=[HELLO])] * 8)
    assert sorted(reply.status for reply in replies) == [200] * 7 + [201]
    assert len({reply.body.id for reply in replies}) == 1
    assert [len(reply.body.messages) for reply in replies] == [1] * 8
    assert Conversation.select().count() == 1


@pytest.mark.usefixtures("either_store")
def test_a_key_is_enforced_by_both_engines():
    for user_id in (None, "alice", "bob"):
        scope = Scope(PROJECT, user_id)
        first = conversations.start(scope, PROJECT, key="k")
        for tags in (None, ["work"]):
            with pytest.raises(KeyTaken) as refused:
                conversations.start(scope, PROJECT, key="k", tags=tags)
            assert refused.value.conversation_id == first.id
        found, is_new = transcripts.find_or_start(scope, PROJECT, "k")
        assert (found.conversation, is_new) == (first, False)
    assert Conversation.select().count() == 3


# Forks


def test_a_fork_has_a_key_of_its_own_or_none(anyone: Caller):
    id = create(anyone)
    assert fork_conversation(anyone, id).body.key is None
    fork = fork_conversation(anyone, id, ForkRequest(key="fork")).body
    assert fork.key == "fork"
    for key in ("k", "fork"):
        before = dump()
        with pytest.raises(KeyTaken):
            fork_conversation(anyone, id, ForkRequest(key=key))
        assert dump() == before


def test_the_key_of_a_fork_is_unique_among_the_conversations_of_its_origins_user(
    alice: Caller, anyone: Caller
):
    hers = create(alice)
    nobodys = create(anyone, "nobody's")
    fork = fork_conversation(anyone, hers, ForkRequest(key="nobody's")).body
    assert fork.user_id == "alice"
    with pytest.raises(KeyTaken) as refused:
        fork_conversation(anyone, hers, ForkRequest(key="nobody's"))
    assert refused.value.conversation_id == fork.id != nobodys


def test_a_key_whose_conversation_another_may_not_see_is_not_told(alice: Caller, bob: Caller):
    hers = create(alice)
    with pytest.raises(ConversationNotFound):
        fork_conversation(bob, hers, ForkRequest(key="k"))
    assert create(bob) != hers
