"""Tests `/api/v1/chat`: answers, followers, retries, and changes during an answer."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from db import conversations, messages
from db.engine.database import database
from db.models import Message
from db.scope import EVERYTHING

from .support.chats import Chat, assert_failed
from .support.clients import Answer, Api, assert_problem
from .support.clock import Clock
from .support.followers import Follower, say
from .support.model_server import ModelServer, Reply, hello
from .support.readers import Reader
from .support.world import PROJECT

CHAT = "/api/v1/chat"
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def stored(conversation_id: str) -> list[tuple[str, object, str]]:
    rows = messages.page_for(EVERYTHING, conversation_id).rows
    return [(row.role, row.content, row.status) for row in rows]


def test_without_a_model_an_echo_answers(api: Api, conversation_id: str):
    body = {"conversation_id": conversation_id, "content": "Hello  you ", "metadata": {"n": 1}}
    answer = api.post(CHAT, body)
    assert answer.status == 200
    assert list(answer.json) == ["user_message", "assistant_message"]
    user, assistant = answer.json.values()
    assert (user["role"], user["content"], user["metadata"]) == ("user", "Hello  you ", {"n": 1})
    assert (assistant["role"], assistant["content"]) == ("assistant", "Hello  you ")
    assert user["status"] == assistant["status"] == "completed"
    path = f"/api/v1/conversations/{conversation_id}/messages"
    assert api.get(path).json["messages"] == [user, assistant]


@pytest.mark.parametrize(
    ("content", "echo"),
    [
        ("", ""),
        ([{"type": "text", "text": "Hello"}, {"type": "text", "text": "you"}], "Hello you"),
        ([{"type": "image"}], ""),
        ([{"type": "text", "text": "nul \0"}], "nul \ufffd"),
    ],
)
def test_an_echo_repeats_the_text_of_the_content(chat: Chat, content: object, echo: str):
    assert chat(content).json["assistant_message"]["content"] == echo


def test_a_model_answers(chat: Chat, model: ModelServer, conversation_id: str):
    assert chat().json["assistant_message"]["content"] == "Hello, world"
    assert stored(conversation_id) == [
        ("user", "Hi", "completed"),
        ("assistant", "Hello, world", "completed"),
    ]


def test_a_failed_answer_is_not_sent_to_the_model_later(chat: Chat, model: ModelServer):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    chat()
    model.script = hello
    assert chat("Again").status == 200
    told = [message["content"] for message in model.asked[1].body["messages"]]
    assert told == ["Hi", "Again"]


def test_a_chat_can_be_answered_with_events(chat: Chat, model: ModelServer, conversation_id: str):
    say(conversation_id, "Before")
    answer = chat(headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"] == "text/event-stream"
    reader = Reader()
    kinds = [event.event for event in reader.receive(answer.body)]
    assert kinds == ["message", "message", "delta", "done"]
    user, assistant = reader.texts.values()
    assert (user, assistant) == (("Hi", "completed"), ("Hello, world", "completed"))
    follower = Follower(conversation_id, reader.last_event_id)
    assert follower.look() == []


def test_an_answer_is_followed_while_it_arrives(
    chat: Chat, model: ModelServer, conversation_id: str
):
    first, second = threading.Event(), threading.Event()

    def script(reply: Reply) -> None:
        reply.begin().say("Hel").stall(first).say("lo").stall(second).done()

    model.script = script
    reader = Follower(conversation_id)

    def wait_for(*texts: tuple[str, str]) -> None:
        for _ in range(50):
            if tuple(reader.texts.values()) == texts:
                break
            reader.receive(reader.ask(wait=1))
        assert tuple(reader.texts.values()) == texts

    with ThreadPoolExecutor(1) as pool:
        try:
            answering = pool.submit(chat)
            wait_for(("Hi", "completed"), ("Hel", "in_progress"))
            first.set()
            wait_for(("Hi", "completed"), ("Hello", "in_progress"))
        finally:
            first.set()
            second.set()
        assert answering.result().status == 200
    wait_for(("Hi", "completed"), ("Hello", "completed"))


def in_mid_answer(
    chat: Chat, model: ModelServer, conversation_id: str, happening: Callable[[str], object]
) -> Answer:
    """Start a chat, call `happening` with its answer's id after "Hel", and return the response."""
    said, happened = threading.Event(), threading.Event()

    def script(reply: Reply) -> None:
        reply.begin().say("Hel")
        said.set()
        reply.stall(happened).say("lo").done()

    model.script = script
    with ThreadPoolExecutor(1) as pool:
        try:
            answering = pool.submit(chat, headers=KEY)
            assert said.wait(10)
            reader = Follower(conversation_id)
            while ("Hel", "in_progress") not in reader.texts.values():
                reader.receive(reader.ask(wait=1))
            happening(list(reader.messages)[-1])
        finally:
            database.close()
            happened.set()
        return answering.result()


def test_the_conversation_may_be_deleted_meanwhile(
    chat: Chat, model: ModelServer, conversation_id: str
):
    def delete(id: str) -> None:
        conversations.remove(EVERYTHING, conversation_id)

    answer = in_mid_answer(chat, model, conversation_id, delete)
    assert_problem(answer, 404, "conversation-not-found")
    assert Message.select().count() == 0


def test_the_answer_may_be_deleted_meanwhile(chat: Chat, model: ModelServer, conversation_id: str):
    def delete(id: str) -> None:
        messages.remove(EVERYTHING, conversation_id, id)

    answer = in_mid_answer(chat, model, conversation_id, delete)
    assert_problem(answer, 404, "message-not-found")
    assert stored(conversation_id) == [("user", "Hi", "completed")]


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_the_answer_may_be_stopped_meanwhile(
    chat: Chat, model: ModelServer, conversation_id: str, status: str
):
    def stop(id: str) -> None:
        messages.edit(EVERYTHING, conversation_id, id, status=status)

    answer = in_mid_answer(chat, model, conversation_id, stop)
    problem = assert_problem(answer, 409, "stream-finished")
    assert problem["message_status"] == status
    assert stored(conversation_id)[1] == ("assistant", "Hel", status)


def test_a_retry_during_the_first_request_is_a_conflict_and_asks_no_model(
    chat: Chat, model: ModelServer, conversation_id: str
):
    def retry(id: str) -> None:
        assert_problem(chat(headers=KEY), 409, "request-in-progress")

    first = in_mid_answer(chat, model, conversation_id, retry)
    later = chat(headers=KEY)
    assert first.status == later.status == 200
    assert later.headers["idempotent-replayed"] == "true"
    assert later.body == first.body
    assert len(model.asked) == 1


def test_a_retry_after_a_failure_asks_no_model(
    chat: Chat, model: ModelServer, conversation_id: str
):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    first = chat(headers=KEY)
    assert_failed(first, conversation_id, "Hel")
    assert "idempotent-replayed" not in first.headers
    model.script = hello
    later = chat(headers=KEY)
    assert_failed(later, conversation_id, "Hel")
    assert later.headers["idempotent-replayed"] == "true"
    assert len(model.asked) == 1


def test_a_retry_after_the_server_died_finds_the_part_that_came(
    chat: Chat, model: ModelServer, conversation_id: str, clock: Clock, monkeypatch: Any
):
    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("handlers.llm.turns._answer", die)
        with pytest.raises(KeyboardInterrupt):
            chat(headers=KEY)
    assert_problem(chat(headers=KEY), 409, "request-in-progress")
    clock.move(seconds=61)
    assert_failed(chat(headers=KEY), conversation_id, "")
    assert model.asked == []


def test_a_chat_in_an_unknown_conversation_asks_no_model(api: Api, model: ModelServer):
    answer = api.post(CHAT, {"conversation_id": PROJECT, "content": "Hi"})
    assert_problem(answer, 404, "conversation-not-found")
    assert model.asked == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": "Hi"},
        {"conversation_id": "x", "content": "Hi"},
        {"conversation_id": PROJECT},
        {"conversation_id": PROJECT, "content": None},
        {"conversation_id": PROJECT, "content": "Hi", "role": "user"},
        {"conversation_id": PROJECT, "content": "Hi", "metadata": []},
    ],
)
def test_a_chat_that_is_invalid_is_refused(api: Api, body: object):
    assert_problem(api.post(CHAT, body), 422, "invalid")
