"""Tests what makes a request safe to repeat: idempotency keys and preconditions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

from tests.support.clients import Answer, Api, assert_problem

CONVERSATIONS = "/api/v1/conversations"


def test_a_retry_with_the_same_key_creates_once(api: Api, project: str):
    retry = {"Idempotency-Key": str(uuid4())}
    first, second = (
        api.post(CONVERSATIONS, {"project_id": project, "title": "Größe"}, headers=retry)
        for _ in range(2)
    )
    assert (first.status, second.status) == (201, 201)
    assert second.body == first.body
    assert second.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert api.get(CONVERSATIONS, project_id=project).json["total"] == 1


def test_another_body_under_the_same_key_is_refused(api: Api, project: str):
    retry = {"Idempotency-Key": str(uuid4())}
    api.post(CONVERSATIONS, {"project_id": project}, headers=retry)
    other = api.post(CONVERSATIONS, {"project_id": project, "title": "Other"}, headers=retry)
    assert_problem(other, 422, "idempotency-key-reused")


def test_copies_of_a_request_at_the_same_moment_create_once(
    api: Api, project: str, connect: Callable[[], AbstractContextManager[Api]]
):
    retry = {"Idempotency-Key": str(uuid4())}

    def create(_: int) -> Answer:
        with connect() as client:
            return client.post(CONVERSATIONS, {"project_id": project}, headers=retry)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(create, range(4)))
    assert {answer.status for answer in answers} <= {201, 409}
    created = {answer.body for answer in answers if answer.status == 201}
    assert len(created) == 1
    assert api.get(CONVERSATIONS, project_id=project).json["total"] == 1


def test_a_message_with_a_client_id_is_stored_once(api: Api, conversation: dict[str, Any]):
    path = f"{CONVERSATIONS}/{conversation['id']}/messages"
    body = {"role": "user", "content": "Größe 👋", "client_id": "1"}
    first, second = api.post(path, body), api.post(path, body)
    assert (first.status, second.status) == (201, 200)
    assert second.json == first.json
    assert second.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    batch = [{**body, "client_id": name} for name in "23"]
    whole, again = api.post(path, batch), api.post(path, batch)
    assert (whole.status, again.status, again.json) == (201, 200, whole.json)
    for other in ({**body, "content": "Other"}, [body, {**body, "client_id": "4"}]):
        assert_problem(api.post(path, other), 409, "client-id-reused")
    for part in ([batch[0], {**batch[1], "client_id": None}], [body, body]):
        assert_problem(api.post(path, part), 422, "invalid")
    api.delete(f"{path}/{first.json['id']}")
    assert_problem(api.post(path, body), 410, "message-deleted")
    assert api.get(path).json["messages"] == [
        {**whole.json[0], "parent_id": None}, whole.json[1]
    ]  # fmt: skip


def test_a_question_with_a_client_id_is_answered_once(api: Api, conversation: dict[str, Any]):
    body = {"conversation_id": conversation["id"], "content": "Hello", "client_id": "1"}
    first, second = (api.post("/api/v1/chat", body) for _ in range(2))
    assert (first.status, second.status, second.json) == (200, 200, first.json)
    assert second.headers["idempotent-replayed"] == "true"
    messages = api.get(f"{CONVERSATIONS}/{conversation['id']}").json["messages"]
    assert messages == list(first.json.values())


def test_copies_of_a_message_at_the_same_moment_are_stored_once(
    api: Api,
    conversation: dict[str, Any],
    connect: Callable[[], AbstractContextManager[Api]],
):
    path = f"{CONVERSATIONS}/{conversation['id']}/messages"

    def append(_: int) -> Answer:
        with connect() as client:
            return client.post(path, {"role": "user", "content": "Hello", "client_id": "1"})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(append, range(4)))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 201]
    assert len({answer.body for answer in answers}) == 1
    assert len(api.get(path).json["messages"]) == 1


def test_an_unchanged_conversation_is_not_sent_again(api: Api, conversation: dict[str, Any]):
    path = f"{CONVERSATIONS}/{conversation['id']}"
    tag = api.get(path).headers["etag"]
    unchanged = api.get(path, headers={"If-None-Match": tag})
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert unchanged.headers["etag"] == tag
    api.post(f"{path}/messages", {"role": "user", "content": "Hello"})
    assert api.get(path, headers={"If-None-Match": tag}).status == 200


def test_a_change_with_a_stale_etag_is_refused(api: Api, conversation: dict[str, Any]):
    path = f"{CONVERSATIONS}/{conversation['id']}"
    stale = {"If-Match": api.get(path).headers["etag"]}
    mine = api.patch(path, {"title": "Mine"}, headers=stale)
    assert mine.status == 200
    assert_problem(api.patch(path, {"title": "Late"}, headers=stale), 412, "stale-precondition")
    assert_problem(api.delete(path, headers=stale), 412, "stale-precondition")
    assert api.get(path).json["title"] == "Mine"
    assert api.delete(path, headers={"If-Match": mine.headers["etag"]}).status == 204
