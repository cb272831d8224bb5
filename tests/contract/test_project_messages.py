"""Tests `/projects/{project_id}/conversations/{conversation_id}/messages`."""

import os
import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.clients import Api, assert_problem

from .conftest import Target

FIELDS = [
    "id", "type", "created_at", "parent_id", "metadata", "conversation_id", "role", "content",
    "attachments",
]  # fmt: skip
HELLO = {"role": "user", "content": "Größe 👋"}
NO_UUID7 = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def uuid7() -> str:
    """An id as a client makes it."""
    milliseconds = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    value = int.from_bytes(milliseconds + os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    return str(UUID(int=value & ~(0x3 << 62) | 2 << 62))


def path_of(project: str, conversation_id: str) -> str:
    return f"/projects/{project}/conversations/{conversation_id}/messages"


@pytest.fixture
def path(project: str, conversation: dict[str, Any]) -> str:
    return path_of(project, conversation["id"])


def contents(page: dict[str, Any]) -> list[str]:
    return [message["content"] for message in page["data"]]


def test_messages_are_stored_and_shown_with_the_documented_fields(
    api: Api, path: str, conversation: dict[str, Any]
):
    began = int(time.time())
    batch = [HELLO, {"role": "assistant", "content": [{"type": "x"}], "metadata": {"n": 1}}]
    answer = api.post(path, {"messages": batch})
    assert answer.status == 201
    assert list(answer.json) == ["data", "has_more", "first_id", "last_id"]
    first, second = answer.json["data"]
    assert [list(message) for message in (first, second)] == [FIELDS] * 2
    assert began <= first["created_at"] <= time.time()
    assert {**first, "id": "", "created_at": 0} == {
        "id": "",
        "type": "message",
        "created_at": 0,
        "parent_id": None,
        "metadata": None,
        "conversation_id": conversation["id"],
        "role": "user",
        "content": "Größe 👋",
        "attachments": [],
    }
    assert (second["parent_id"], second["metadata"]) == (first["id"], {"n": 1})
    assert second["content"] == [{"type": "x"}]
    assert (answer.json["first_id"], answer.json["last_id"]) == (first["id"], second["id"])
    assert api.get(path).json == answer.json


def test_pages_go_from_the_root_to_the_leaf_of_the_active_branch(api: Api, path: str):
    root = api.post(path, {"messages": [{"role": "user", "content": "a"}]}).json["last_id"]
    for batch in ("xy", "bcde"):
        first, *rest = [{"role": "user", "content": name} for name in batch]
        sent = {"messages": [{**first, "parent_id": root}, *rest]}
        assert api.post(path, sent).status == 201
    first = api.get(path, limit=2).json
    assert (contents(first), first["has_more"]) == (["a", "b"], True)
    rest = api.get(path, after=first["last_id"]).json
    assert (contents(rest), rest["has_more"]) == (["c", "d", "e"], False)
    back = api.get(path, limit=1, before=rest["first_id"]).json
    assert (contents(back), back["has_more"]) == (["b"], True)
    assert_problem(api.get(path, limit=101), 422, "invalid")
    assert_problem(api.get(path, after=root, before=root), 422, "invalid")


def test_a_client_creates_a_conversation_under_its_own_id(api: Api, project: str):
    id = uuid7()
    path = path_of(project, id)
    assert_problem(api.get(path), 404, "conversation-not-found")
    made = api.post(path, {"messages": [HELLO]}, headers={"X-User-Id": "zoe"})
    assert made.status == 201
    assert api.post(path, {"messages": [HELLO]}, headers={"X-User-Id": "zoe"}).status == 201
    (listed,) = api.get(f"/projects/{project}/conversations").json["data"]
    assert (listed["id"], listed["user_id"]) == (id, "zoe")
    assert len(api.get(path).json["data"]) == 2


def test_what_another_one_has_is_not_found_and_not_made_anew(
    api: Api, project: str, target: Target
):
    id = uuid7()
    path = path_of(project, id)
    api.post(path, {"messages": [HELLO]}, headers={"X-User-Id": "zoe"})
    body = {"messages": [HELLO]}
    for other, headers in (
        (path, {"X-User-Id": "adam"}),
        (path_of(str(uuid4()), id), {}),
    ):
        answer = api.post(other, body, headers=headers)
        assert_problem(answer, 404, "conversation-not-found")
        assert_problem(api.get(other, headers=headers), 404, "conversation-not-found")
    stranger = {"X-API-Key": target.keys.strangers}
    assert_problem(api.post(path, body, headers=stranger), 403, "other-project")
    assert len(api.get(path).json["data"]) == 1


@pytest.mark.parametrize("id", ["x", NO_UUID7, "ffffffff-ffff-7fff-bfff-ffffffffffff"])
def test_an_id_that_is_no_uuidv7_is_refused(id: str, api: Api, project: str):
    problem = assert_problem(api.post(path_of(project, id), {"messages": [HELLO]}), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["path", "conversation_id"]


def test_a_user_in_the_body_must_not_contradict_the_header(api: Api, project: str):
    path, body = path_of(project, uuid7()), {"messages": [HELLO], "user_id": "zoe"}
    answer = api.post(path, body, headers={"X-User-Id": "adam"})
    assert_problem(answer, 403, "other-user")
    assert api.post(path, body, headers={"X-User-Id": "zoe"}).status == 201
    assert api.post(path, body).status == 201
    assert_problem(api.post(path, {**body, "user_id": "adam"}), 404, "conversation-not-found")
    (listed,) = api.get(f"/projects/{project}/conversations").json["data"]
    assert listed["user_id"] == "zoe"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [HELLO] * 101},
        {"messages": [{**HELLO, "status": "completed"}]},
        {"messages": [HELLO, {**HELLO, "parent_id": NO_UUID7}]},
        {"messages": [{**HELLO, "client_id": "a"}, HELLO]},
        {"messages": [HELLO], "user_id": " "},
    ],
    ids=lambda body: str(body)[-40:],
)
def test_a_body_that_is_invalid_is_refused_and_creates_nothing(
    body: dict[str, Any], api: Api, project: str
):
    assert_problem(api.post(path_of(project, uuid7()), body), 422, "invalid")
    assert api.get(f"/projects/{project}/conversations").json["data"] == []


def test_a_batch_with_client_ids_is_stored_once(api: Api, project: str):
    path = path_of(project, uuid7())
    body = {"messages": [{**HELLO, "client_id": name} for name in "ab"]}
    first, second = api.post(path, body), api.post(path, body)
    assert (first.status, second.status) == (201, 200)
    assert second.json == first.json
    assert second.headers["idempotent-replayed"] == "true"
    assert len(api.get(path).json["data"]) == 2
