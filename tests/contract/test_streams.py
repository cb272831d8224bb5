"""Tests streams, the events that readers follow, and `/api/v1/chat`."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.support.clients import Api, assert_problem
from tests.support.readers import Reader, dispatched


@pytest.fixture
def path(conversation: dict[str, Any]) -> str:
    return f"/api/v1/conversations/{conversation['id']}"


@pytest.fixture
def message(api: Api, path: str) -> dict[str, Any]:
    """A message that is in progress."""
    opened = {"role": "assistant", "content": "", "status": "in_progress"}
    return api.post(f"{path}/messages", opened).json


@pytest.fixture
def append(api: Api, path: str, message: dict[str, Any]) -> Callable[..., Any]:
    def write(offset: int, delta: str, **rest: object) -> Any:
        body = {"offset": offset, "delta": delta, **rest}
        return api.post(f"{path}/messages/{message['id']}/append", body)

    return write


def test_a_message_is_written_piece_by_piece_and_read_meanwhile(
    api: Api, path: str, message: dict[str, Any], append: Callable[..., Any]
):
    first = append(0, "Größe 👋")
    assert first.status == 200
    assert list(first.json) == ["id", "status", "length", "updated_at"]
    assert (first.json["status"], first.json["length"]) == ("in_progress", 7)
    assert api.get(path).json["messages"][0]["content"] == "Größe 👋"
    last = append(7, "!", status="completed")
    assert (last.json["status"], last.json["length"]) == ("completed", 8)
    stored = api.get(f"{path}/messages/{message['id']}").json
    assert (stored["content"], stored["status"]) == ("Größe 👋!", "completed")


def test_a_repeated_piece_is_stored_once_and_a_gap_is_a_conflict(append: Callable[..., Any]):
    assert append(0, "Hello").json["length"] == 5
    assert append(0, "Hello").json["length"] == 5
    assert append(3, "lo").json["length"] == 5
    for offset, delta in ((6, "!"), (0, "Hallo"), (3, "lo!")):
        problem = assert_problem(append(offset, delta), 409, "offset-conflict")
        assert problem["length"] == 5


def test_a_finished_message_takes_nothing_more(append: Callable[..., Any]):
    append(0, "Hello", status="completed")
    problem = assert_problem(append(5, "!"), 409, "stream-finished")
    assert problem["length"] == 5
    assert append(0, "Hello", status="completed").status == 200


def test_events_arrive_in_order_and_only_once(
    api: Api, path: str, message: dict[str, Any], append: Callable[..., Any]
):
    reader = Reader()
    answer = api.get(f"{path}/events")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.startswith(b"retry: 500\n\n")
    assert [event.event for event in reader.receive(answer.body)] == ["message"]
    append(0, "Hello 👋")
    append(7, "!", status="completed")
    since = {"Last-Event-ID": str(reader.last_event_id)}
    events = reader.receive(api.get(f"{path}/events", headers=since).body)
    assert [event.event for event in events][-1] == "done"
    assert reader.texts == {message["id"]: ("Hello 👋!", "completed")}
    since = {"Last-Event-ID": str(reader.last_event_id)}
    assert list(dispatched(api.get(f"{path}/events", headers=since).body)) == []


def test_changes_and_deletions_are_events_too(api: Api, path: str, message: dict[str, Any]):
    api.patch(path, {"title": "New"})
    api.delete(f"{path}/messages/{message['id']}")
    told = {event.event: event.data for event in dispatched(api.get(f"{path}/events").body)}
    assert told["conversation"]["title"] == "New"
    assert told["deleted"] == {"message_id": message["id"], "parent_id": None}


def test_a_waiting_reader_receives_the_next_event(
    api: Api, path: str, connect: Callable[[], AbstractContextManager[Api]]
):
    def wait() -> list[str]:
        with connect() as waiting:
            return [
                event.event for event in dispatched(waiting.get(f"{path}/events", wait=20).body)
            ]

    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(wait)
        time.sleep(0.5)
        assert not told.done()
        api.patch(path, {"title": "New"})
        assert told.result() == ["conversation"]
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("headers", "query"),
    [({}, {"wait": 21}), ({}, {"wait": "long"}), ({"Last-Event-ID": "x"}, {})],
    ids=str,
)
def test_an_invalid_wait_or_last_event_id_is_refused(
    headers: dict[str, str], query: dict[str, Any], api: Api, path: str
):
    assert_problem(api.get(f"{path}/events", headers=headers, **query), 422, "invalid")


def test_a_chat_stores_question_and_answer(api: Api, path: str, conversation: dict[str, Any]):
    body = {"conversation_id": conversation["id"], "content": "Hello 👋"}
    answer = api.post("/api/v1/chat", body)
    assert answer.status == 200
    assert list(answer.json) == ["user_message", "assistant_message"]
    question, reply = answer.json.values()
    assert (question["role"], question["content"]) == ("user", "Hello 👋")
    assert (reply["role"], reply["status"]) == ("assistant", "completed")
    assert reply["content"]
    assert api.get(path).json["messages"] == [question, reply]


def test_a_chat_answers_with_events_on_request(api: Api, conversation: dict[str, Any]):
    body = {"conversation_id": conversation["id"], "content": "Hello"}
    answer = api.post("/api/v1/chat", body, headers={"Accept": "text/event-stream"})
    assert answer.status == 200
    reader = Reader()
    reader.receive(answer.body)
    assert [status for _, status in reader.texts.values()] == ["completed", "completed"]


def test_stop_ends_what_is_being_written(
    api: Api, path: str, message: dict[str, Any], append: Callable[..., Any]
):
    append(0, "Hel")
    assert api.post(f"{path}/stop").status == 204
    stopped = api.get(f"{path}/messages/{message['id']}").json
    assert (stopped["content"], stopped["status"]) == ("Hel", "incomplete")
    problem = assert_problem(append(3, "lo"), 409, "stream-finished")
    assert problem["message_status"] == "incomplete"
    assert api.post(f"{path}/stop").status == 204


def test_a_live_reader_is_told_of_all_that_happened(
    api: Api, path: str, append: Callable[..., Any]
):
    append(0, "Hello", status="completed")
    answer = api.get(f"{path}/events", live="true", wait=0.3)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.body == api.get(f"{path}/events").body
    reader = Reader()
    reader.receive(answer.body)
    assert [*reader.texts.values()] == [("Hello", "completed")]


@pytest.mark.parametrize("content", ["Hello", "Hello there, how are you?"])
def test_a_chat_is_answered_with_the_events_of_its_turn(api: Api, path: str, content: str):
    body = {"conversation_id": path.rpartition("/")[2], "content": content}
    answer = api.post("/api/v1/chat", body, headers={"Accept": "text/event-stream"})
    reader = Reader()
    kinds = [event.event for event in reader.receive(answer.body)]
    assert [*reader.texts.values()] == [(content, "completed")] * 2
    # A server that sends parts tells a piece when it comes. Others tell all of them together.
    assert [kind for kind in kinds if kind != "delta"] == ["message", "message", "done"]
    if " " not in content:
        assert timeless(answer.body) == timeless(api.get(f"{path}/events").body)


def timeless(body: bytes) -> bytes:
    """A message that was told when it was opened has changed since."""
    return re.sub(rb'"updated_at":"[^"]*"', b"", body)


def test_a_repeated_question_is_told_its_answer(api: Api, path: str):
    body = {"conversation_id": path.rpartition("/")[2], "content": "Hello", "client_id": "1"}
    first, second = (
        api.post("/api/v1/chat", body, headers={"Accept": "text/event-stream"}) for _ in range(2)
    )
    assert second.headers["idempotent-replayed"] == "true"
    assert timeless(second.body) == timeless(first.body)
