"""Tests messages: how clients append, page, change and delete them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.support.clients import Api, assert_problem

FIELDS = [
    "id", "conversation_id", "role", "content", "status", "metadata", "created_at", "updated_at",
    "parent_id", "client_id",
]  # fmt: skip
PARTS = [
    {"type": "text", "text": "Look: 👀"},
    {
        "type": "image",
        "url": "https://example.com/1.png",
        "size": [1.5, 2e30, -0.0, 9007199254740993],
    },
]


@pytest.fixture
def path(conversation: dict[str, Any]) -> str:
    return f"/api/v1/conversations/{conversation['id']}/messages"


def ids_of(page: dict[str, Any]) -> list[str]:
    return [message["id"] for message in page["messages"]]


def append(api: Api, path: str, count: int) -> list[str]:
    batch = [{"role": "user", "content": str(number)} for number in range(count)]
    return [message["id"] for message in api.post(path, batch).json]


def test_an_appended_message_has_the_documented_fields_in_order(
    api: Api, path: str, conversation: dict[str, Any]
):
    answer = api.post(path, {"role": "user", "content": "Größe 👋\r\n\u2028"})
    assert answer.status == 201
    assert list(answer.json) == FIELDS
    assert answer.json["conversation_id"] == conversation["id"]
    assert answer.json["content"] == "Größe 👋\r\n\u2028"
    assert (answer.json["status"], answer.json["metadata"]) == ("completed", None)
    assert api.get(answer.headers["location"]).json == answer.json


def test_parts_and_metadata_come_back_verbatim(api: Api, path: str):
    metadata = {"model": "gpt-4o", "nested": {"list": [None, True, {"ü": "👋"}]}}
    sent = {"role": "assistant", "content": PARTS, "metadata": metadata}
    message = api.post(path, sent).json
    assert (message["content"], message["metadata"]) == (PARTS, metadata)
    assert api.get(f"{path}/{message['id']}").json == message


def test_appending_moves_the_conversations_last_message(api: Api, path: str, project: str):
    (id,) = append(api, path, 1)
    (listed,) = api.get(f"/projects/{project}/conversations").json["data"]
    assert listed["last_message_id"] == id


def test_a_batch_is_stored_in_order_or_not_at_all(api: Api, path: str):
    ids = append(api, path, 100)
    assert ids == sorted(ids)
    half_good = [{"role": "user", "content": "good"}, {"role": "king", "content": "bad"}]
    assert_problem(api.post(path, half_good), 422, "invalid")
    page = api.get(path, limit=1000).json
    assert [message["content"] for message in page["messages"]] == [str(n) for n in range(100)]


def test_concurrent_appends_are_all_kept_in_each_writers_order(
    api: Api, path: str, connect: Callable[[], AbstractContextManager[Api]]
):
    def write(writer: int) -> list[str]:
        with connect() as client:
            bodies = [{"role": "user", "content": f"{writer} {number}"} for number in range(10)]
            return [client.post(path, body).json["id"] for body in bodies]

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write, range(4)))
    kept = api.get(path).json["messages"]
    assert len(kept) == 40
    for writer, ids in enumerate(written):
        own = [message for message in kept if message["content"].startswith(f"{writer} ")]
        assert [message["id"] for message in own] == ids
        assert [message["content"] for message in own] == [f"{writer} {n}" for n in range(10)]


def test_cursors_lead_through_messages_both_ways(api: Api, path: str):
    ids = append(api, path, 5)
    first = api.get(path, limit=2).json
    assert list(first) == ["messages", "has_more", "first_id", "last_id"]
    assert (ids_of(first), first["has_more"]) == (ids[:2], True)
    rest = api.get(path, after=first["last_id"]).json
    assert (ids_of(rest), rest["has_more"]) == (ids[2:], False)
    newest = api.get(path, limit=2, order="desc").json
    assert ids_of(newest) == [ids[4], ids[3]]
    assert ids_of(api.get(path, limit=2, before=ids[2]).json) == ids[:2]


def test_a_message_is_changed_in_the_fields_that_are_sent(api: Api, path: str):
    (id,) = append(api, path, 1)
    changed = api.patch(f"{path}/{id}", {"content": PARTS}).json
    assert changed["content"] == PARTS
    changed = api.patch(f"{path}/{id}", {"metadata": {"edited": True}}).json
    assert (changed["content"], changed["metadata"]) == (PARTS, {"edited": True})
    assert api.get(f"{path}/{id}").json == changed


def test_a_deleted_message_is_gone_and_its_neighbours_stay(api: Api, path: str):
    ids = append(api, path, 3)
    answer = api.delete(f"{path}/{ids[1]}")
    assert (answer.status, answer.body) == (204, b"")
    assert_problem(api.get(f"{path}/{ids[1]}"), 404, "message-not-found")
    assert ids_of(api.get(path, after=ids[0]).json) == [ids[2]]
    assert ids_of(api.get(path, after=ids[1]).json) == [ids[2]]


@pytest.mark.parametrize(
    "body",
    [
        {"role": "user"},
        {"role": "king", "content": "x"},
        {"role": "user", "content": "x", "status": "done"},
        {"role": "user", "content": "x", "metadata": [1]},
        {"role": "user", "content": "x", "colour": "red"},
        [],
        [{"role": "user", "content": "x"}] * 101,
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_message_that_is_invalid_is_refused(body: object, api: Api, path: str):
    problem = assert_problem(api.post(path, body), 422, "invalid")
    assert problem["errors"]
    assert api.get(path).json["messages"] == []
