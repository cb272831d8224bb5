"""Tests what a conversation has beside its messages: metadata, pins, holds, and all at once."""

from dataclasses import replace
from typing import Any

import pytest

from db import conversations, messages, transcripts
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.conversations import (
    CONVERSATIONS,
    ConversationCreate,
    ConversationPatch,
    ConversationQuery,
    ConversationResponse,
    change_conversation,
    create_conversation,
    delete_conversation,
    get_conversation,
)
from handlers.http.caller import Caller
from handlers.http.preconditions import IfMatch, IfNoneMatch
from handlers.http.problems import Problem

from .support.clients import Api, assert_problem
from .support.world import PROJECT


def create(caller: Caller, **fields: Any) -> str:
    return create_conversation(caller, ConversationCreate(project_id=PROJECT, **fields)).body.id


def get(caller: Caller, id: str) -> ConversationResponse:
    return get_conversation(caller, id, ConversationQuery(), IfNoneMatch()).body


def change(caller: Caller, id: str, **fields: Any) -> ConversationResponse:
    return change_conversation(caller, id, ConversationPatch(**fields), IfMatch()).body


def say(id: str, *contents: str) -> list[str]:
    drafts = [Draft("user", content) for content in contents]
    return [row.id for row in messages.append(EVERYTHING, id, drafts)]


def test_a_new_conversation_may_have_all_that_it_can_have(api: Api):
    fields = {
        "project_id": PROJECT,
        "title": "Plans",
        "key": "k",
        "tags": ["b", "a"],
        "metadata": {"z": [1, 1.5, None], "a": {"ü": "👋\0"}},
    }
    batch = [
        {"role": "system", "content": "Be brief.", "metadata": {"n": 1}},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}], "status": "incomplete"},
    ]
    made = api.post(CONVERSATIONS, {**fields, "messages": batch}).json
    assert {name: made[name] for name in fields} == fields
    first, second = made["messages"]
    assert (first["content"], first["metadata"]) == ("Be brief.", {"n": 1})
    assert (second["content"], second["status"]) == (batch[1]["content"], "incomplete")
    assert (first["parent_id"], second["parent_id"]) == (None, first["id"])
    assert made["last_message_id"] == second["id"]
    assert api.get(f"{CONVERSATIONS}/{made['id']}").json == made


def test_its_first_messages_may_be_a_tree_of_which_the_active_branch_is_shown(api: Api):
    batch = [{"role": "user", "content": "a"}, {"role": "user", "content": "b", "parent_id": None}]
    made = api.post(CONVERSATIONS, {"project_id": PROJECT, "messages": batch}).json
    read = api.get(f"{CONVERSATIONS}/{made['id']}").json
    assert [message["content"] for message in read["messages"]] == ["b"]
    assert made == read


@pytest.mark.parametrize(("size", "status"), [(0, 201), (100, 201), (101, 422)])
def test_a_conversation_begins_with_at_most_100_messages(api: Api, size: int, status: int):
    body = {"project_id": PROJECT, "messages": [{"role": "user", "content": "Hello"}] * size}
    answer = api.post(CONVERSATIONS, body)
    assert answer.status == status
    if status == 201:
        assert len(answer.json["messages"]) == size


def test_each_field_is_changed_alone_and_as_a_whole(anyone: Caller):
    id = create(anyone, title="Planning")
    shown = get(anyone, id)
    for changes in (
        {"is_pinned": True},
        {"is_held": True},
        {"tags": ["b", "a"]},
        {"metadata": {"a": 1, "b": {"c": None}}},
        {"metadata": {"d": []}},
        {"tags": ["c"]},
        {"metadata": {}},
        {"is_pinned": False, "is_held": False, "tags": [], "metadata": None},
    ):
        changed = change(anyone, id, **changes)
        assert changed == replace(shown, **changes, updated_at=changed.updated_at)
        shown = get(anyone, id)
        assert shown == changed


def test_setting_what_is_set_makes_no_version(anyone: Caller):
    id = create(anyone)
    fields = {"is_pinned": True, "is_held": True, "tags": ["a"], "metadata": {"a": 1}}
    change(anyone, id, **fields)
    before = conversations.find(EVERYTHING, id)
    change(anyone, id, **fields)
    assert conversations.find(EVERYTHING, id) == before


def test_metadata_is_compared_as_it_is_stored(anyone: Caller):
    id = create(anyone, metadata={"n": 1})
    assert change(anyone, id, metadata={"n": True}).metadata["n"] is True


def metadata_of(size: int) -> dict[str, str]:
    """Metadata of so many bytes as JSON in UTF-8, of which most are not ASCII."""
    letters, rest = divmod(size - len('{"a":""}'), 2)
    return {"a": "é" * letters + "x" * rest}


@pytest.mark.parametrize("size", [16_384, 16_385])
def test_metadata_has_at_most_16384_bytes(api: Api, size: int):
    metadata = metadata_of(size)
    made = api.post(CONVERSATIONS, {"project_id": PROJECT})
    path = made.headers["location"]
    body = {"project_id": PROJECT, "metadata": metadata}
    answers = [
        api.post(CONVERSATIONS, body),
        api.post(CONVERSATIONS, {**body, "tags": ["a"], "key": "k"}),
        api.request("PUT", f"{CONVERSATIONS}/by-key/by", body),
        api.patch(path, {"metadata": metadata}),
    ]
    if size <= 16_384:
        assert [answer.json["metadata"] for answer in answers] == [metadata] * len(answers)
        return
    for answer in answers:
        problem = assert_problem(answer, 422, "invalid")
        assert problem["errors"][0]["loc"] == ["body", "metadata"]
    assert api.get(CONVERSATIONS).json["conversations"] == [made.json]


def test_a_fork_says_where_it_comes_from_beside_metadata_of_any_size(anyone: Caller):
    metadata = metadata_of(16_384)
    id = create(anyone, metadata=metadata)
    (message_id,) = say(id, "Hello")
    fork = transcripts.fork(EVERYTHING, id).conversation
    assert change(anyone, fork.id, metadata=fork.metadata).metadata == fork.metadata
    forked_from = {"conversation_id": id, "message_id": message_id}
    assert fork.metadata == {**metadata, "forked_from": forked_from}
    assert change(anyone, fork.id, is_pinned=True).metadata == fork.metadata


def test_a_client_cannot_hide_metadata_from_the_limit(api: Api):
    """A fork's `forked_from` comes on top of the limit. A client's own value does not."""
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]
    large = {"metadata": {"forked_from": "x" * 20_000}}
    assert_problem(api.patch(path, large), 422, "invalid")
    assert_problem(api.post(CONVERSATIONS, {"project_id": PROJECT, **large}), 422, "invalid")


@pytest.mark.parametrize("metadata", ['{"n": 1e400}', '{"a": [{"n": -1e999}]}'])
def test_a_number_that_json_cannot_express_is_refused(api: Api, metadata: str):
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]
    create = f'{{"project_id": "{PROJECT}", "metadata": {metadata}}}'
    for answer in (
        api.post(CONVERSATIONS, body=create.encode()),
        api.patch(path, body=f'{{"metadata": {metadata}}}'.encode()),
    ):
        problem = assert_problem(answer, 422, "invalid")
        assert problem["errors"][0]["loc"] == ["body", "metadata"]


# Holds


def test_a_hold_is_set_and_lifted_without_a_user(api: Api, anyone: Caller):
    path = f"{CONVERSATIONS}/{create(anyone)}"
    assert api.patch(path, {"is_held": True}).json["is_held"] is True
    assert api.patch(path, {"is_held": False}).json["is_held"] is False


@pytest.mark.parametrize("is_held", [True, False])
def test_a_user_sets_and_lifts_no_hold(alice: Caller, anyone: Caller, is_held: bool):
    id = create(alice)
    change(anyone, id, is_held=is_held)
    before = get(alice, id)
    for wanted in (True, False):
        with pytest.raises(Problem, match="without X-User-Id") as refused:
            change(alice, id, is_held=wanted, title="New")
        assert refused.value.kind.status == 403
    assert get(alice, id) == before


def test_nothing_of_a_held_conversation_is_deleted_until_the_hold_is_lifted(
    api: Api, anyone: Caller
):
    id = create(anyone)
    first, _ = say(id, "one", "two")
    change(anyone, id, is_held=True)
    before = get(anyone, id)
    paths = [
        f"{CONVERSATIONS}/{id}/messages/{first}",
        f"{CONVERSATIONS}/{id}",
        f"/projects/{PROJECT}/conversations/{id}",
    ]
    for path in paths:
        assert_problem(api.delete(path), 409, "held")
    assert get(anyone, id) == before
    change(anyone, id, is_held=False)
    assert [api.delete(path).status for path in paths[:2]] == [204, 204]


def test_a_held_conversation_can_be_written_to_and_its_fork_is_free(anyone: Caller):
    id = create(anyone)
    (first,) = say(id, "one")
    change(anyone, id, is_held=True)
    (second,) = say(id, "two")
    messages.edit(EVERYTHING, id, first, content="ONE")
    fork = transcripts.fork(EVERYTHING, id, second).conversation
    assert not fork.is_held
    delete_conversation(anyone, fork.id, IfMatch())
    changed = change(anyone, id, title="Plans", last_message_id=first)
    assert [message.content for message in changed.messages] == ["ONE"]
    assert changed.is_held
