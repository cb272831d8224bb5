"""Tests `/api/v1/chat`: answers, followers, retries, and changes during an answer."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from db import conversations, messages, streams
from db.engine.database import database
from db.messages import Draft
from db.models import Message
from db.scope import EVERYTHING
from handlers.llm import echo, turns
from handlers.llm.client import Line, Options

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


def test_the_model_is_told_later_what_came_of_a_failed_answer(chat: Chat, model: ModelServer):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    chat()
    model.script = hello
    assert chat("Again").status == 200
    told = [message["content"] for message in model.asked[1].body["messages"]]
    assert told == ["Hi", "Hel", "Again"]


def test_a_failed_answer_without_text_is_not_told(chat: Chat, model: ModelServer):
    model.script = lambda reply: reply.cut()
    chat()
    model.script = hello
    chat("Again")
    assert [message["content"] for message in model.asked[1].body["messages"]] == ["Hi", "Again"]


def test_a_model_is_told_no_more_than_the_setting_allows(
    chat: Chat, model: ModelServer, conversation_id: str, configure: Callable[..., None]
):
    messages.append(
        EVERYTHING,
        conversation_id,
        [Draft("system", "Be brief."), *[Draft("user", "word " * 20)] * 20],
    )
    configure(chat_context_tokens=60)
    chat()
    told = model.asked[0].body["messages"]
    assert [message["role"] for message in told] == ["system", "user", "user"]
    assert told[-1]["content"] == "Hi"


def test_a_question_of_which_a_model_can_be_told_nothing_is_empty(chat: Chat, model: ModelServer):
    chat([{"type": "data-weather", "data": {}}])
    assert model.asked[0].body["messages"] == [{"role": "user", "content": ""}]


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


def test_a_model_may_be_silent_for_longer_than_a_writer(
    chat: Chat, model: ModelServer, conversation_id: str, configure: Callable[..., None]
):
    configure(stream_timeout=3, chat_timeout=25)

    def wait(id: str) -> None:
        time.sleep(5)
        found = messages.find(EVERYTHING, conversation_id, id)
        assert (found.content, found.status) == ("Hel", "in_progress")

    answer = in_mid_answer(chat, model, conversation_id, wait)
    assert answer.status == 200
    assert stored(conversation_id)[1] == ("assistant", "Hello", "completed")


@pytest.mark.usefixtures("no_trash")
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
    assert answer.status == 200
    shown = answer.json["assistant_message"]
    assert (shown["content"], shown["status"]) == ("Hel", status)
    assert stored(conversation_id)[1] == ("assistant", "Hel", status)


def test_who_is_hung_up_on_ends_the_answer(chat: Chat, model: ModelServer, conversation_id: str):
    """Who stops it may not have committed yet, or may fail to."""

    def hang_up(id: str) -> None:
        turns.hang_up([id])

    answer = in_mid_answer(chat, model, conversation_id, hang_up)
    assert answer.status == 200
    assert stored(conversation_id)[1] == ("assistant", "Hel", "incomplete")


def test_the_answer_may_be_edited_meanwhile(chat: Chat, model: ModelServer, conversation_id: str):
    def edit(id: str) -> None:
        messages.edit(EVERYTHING, conversation_id, id, content="Something else")

    answer = in_mid_answer(chat, model, conversation_id, edit)
    assert answer.status == 200
    assert stored(conversation_id)[1] == ("assistant", "Something else", "incomplete")


def test_a_retry_of_what_was_stopped_has_the_same_response(
    chat: Chat, model: ModelServer, conversation_id: str
):
    def stop(id: str) -> None:
        streams.stop(EVERYTHING, conversation_id)

    first = in_mid_answer(chat, model, conversation_id, stop)
    later = chat(headers=KEY)
    assert (first.status, later.status) == (200, 200)
    assert later.body == first.body
    assert later.headers["idempotent-replayed"] == "true"
    assert len(model.asked) == 1


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_the_model_cuts_short_is_incomplete(
    chat: Chat, model: ModelServer, conversation_id: str, reason: str
):
    def script(reply: Reply) -> None:
        reply.begin().say("Hel").call("add", '{"a": 1}')
        reply.call("add", '{"a": 1', id="call_2", index=1).finish(reason).done()

    model.script = script
    answer = chat().json["assistant_message"]
    call = {"type": "tool_call", "id": "call_1", "name": "add", "arguments": '{"a": 1}'}
    assert answer["content"] == [{"type": "text", "text": "Hel"}, call]
    assert answer["status"] == "incomplete"
    model.script = lambda reply: reply.begin().say("Hel").finish(reason).done()
    answer = chat().json["assistant_message"]
    assert (answer["content"], answer["status"]) == ("Hel", "incomplete")


def test_a_character_that_the_model_cuts_in_two_is_whole(chat: Chat, model: ModelServer):
    model.script = lambda reply: reply.begin().say("a\ud83d", "\ude00b", "\ud83d").done()
    assert chat().json["assistant_message"]["content"] == "a😀b\ufffd"


def test_no_tools_are_not_told(chat: Chat, model: ModelServer):
    assert chat(tools=[], tool_choice="auto").status == 200
    assert {"tools", "tool_choice"}.isdisjoint(model.asked[0].body)


def test_an_echo_of_many_words_has_few_pieces(chat: Chat):
    words = " ".join(map(str, range(5_000))) + "  "
    pieces = [*echo.ask([{"role": "user", "content": words}], Options(), Line())]
    assert len(pieces) <= echo.MAX_PIECES
    assert "".join(pieces) == words


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
        dying.setattr("handlers.llm.turns.answer", die)
        with pytest.raises(KeyboardInterrupt):
            chat(headers=KEY)
    assert_problem(chat(headers=KEY), 409, "request-in-progress")
    clock.move(seconds=61)
    assert_failed(chat(headers=KEY), conversation_id, "")
    assert model.asked == []


def test_a_question_that_is_sent_again_is_answered_by_what_is_stored(
    chat: Chat, model: ModelServer, conversation_id: str, clock: Clock
):
    first = chat(client_id="c")
    assert first.json["user_message"]["client_id"] == "c"
    assert "idempotent-replayed" not in first.headers
    say(conversation_id, "after")
    clock.move(seconds=30 * 86_400)
    later = chat(client_id="c")
    assert (first.status, later.status) == (200, 200)
    assert later.body == first.body
    assert later.headers["idempotent-replayed"] == "true"
    assert len(model.asked) == 1


def test_a_question_that_is_sent_again_can_be_answered_with_the_same_events(
    chat: Chat, model: ModelServer
):
    events = {"Accept": "text/event-stream"}
    first, later = (chat(client_id="c", headers=events) for _ in range(2))
    assert later.body == first.body
    assert b"event: done" in later.body
    assert len(model.asked) == 1


def test_a_question_whose_answer_failed_is_not_asked_again(
    chat: Chat, model: ModelServer, conversation_id: str
):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    assert_failed(chat(client_id="c"), conversation_id, "Hel")
    model.script = hello
    later = chat(client_id="c")
    assert_failed(later, conversation_id, "Hel")
    assert later.headers["idempotent-replayed"] == "true"
    assert len(model.asked) == 1


def test_a_question_that_is_being_answered_is_not_asked_again(
    chat: Chat, model: ModelServer, conversation_id: str
):
    def send_again(id: str) -> None:
        assert_problem(chat(client_id="c"), 409, "request-in-progress")

    def say_with_id(content: str = "Hi", **rest: Any) -> Answer:
        return chat(content, client_id="c")

    first = in_mid_answer(say_with_id, model, conversation_id, send_again)
    assert chat(client_id="c").body == first.body
    assert len(model.asked) == 1


@pytest.mark.parametrize("other", [{"content": "Bye"}, {"parent_id": None}], ids=str)
def test_another_question_under_a_client_id_asks_no_model(
    chat: Chat, model: ModelServer, conversation_id: str, other: dict[str, Any]
):
    say(conversation_id, "before")
    question = chat(client_id="c").json["user_message"]
    answer = chat(**{"content": "Hi", "client_id": "c", **other})
    problem = assert_problem(answer, 409, "client-id-reused")
    assert problem["message_id"] == question["id"]
    assert len(model.asked) == 1
    assert len(stored(conversation_id)) == 3


@pytest.mark.parametrize("gone", ["user_message", "assistant_message"])
def test_a_question_is_not_asked_again_when_it_or_its_answer_was_deleted(
    chat: Chat, model: ModelServer, conversation_id: str, gone: str
):
    first = chat(client_id="c").json
    messages.remove(EVERYTHING, conversation_id, first[gone]["id"])
    say(conversation_id, "after")
    assert_problem(chat(client_id="c"), 410, "message-deleted")
    assert len(model.asked) == 1
    assert len(stored(conversation_id)) == 2


@pytest.mark.parametrize("after", [[], ["after"]], ids=["alone", "followed"])
def test_a_message_that_was_no_question_does_not_pass_for_an_answered_one(
    chat: Chat, conversation_id: str, after: list[str]
):
    """Its client id is known, but no model was asked for it. What follows it is no answer."""
    draft = Draft("user", "Hi", client_id="c")
    (question,) = messages.append(EVERYTHING, conversation_id, [draft])
    say(conversation_id, *after)
    answer = chat(client_id="c")
    if answer.status == 200:
        assert answer.json["user_message"]["id"] == question.id
        assert answer.json["assistant_message"]["role"] == "assistant"
        assert answer.json["assistant_message"]["parent_id"] == question.id
    else:
        assert answer.status in (409, 410)


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
        {"conversation_id": PROJECT, "parent_id": None},
        {"conversation_id": PROJECT, "parent_id": "x", "content": "Hi"},
        {"conversation_id": PROJECT, "parent_id": PROJECT, "client_id": "c"},
        {"conversation_id": PROJECT, "parent_id": PROJECT, "metadata": {}},
        {"conversation_id": PROJECT, "content": "Hi", "client_id": ""},
    ],
)
def test_a_chat_that_is_invalid_is_refused(api: Api, body: object):
    assert_problem(api.post(CHAT, body), 422, "invalid")


def call(id: str, *arguments: str) -> list[dict[str, Any]]:
    """The pieces in which a model sends a call of `weather`."""
    first = {"index": 0, "id": id, "type": "function", "function": {"name": "weather"}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in arguments]
    return [{"tool_calls": [piece]} for piece in (first, *rest)]


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def test_a_model_calls_a_tool_and_answers_with_its_result(
    chat: Chat, api: Api, model: ModelServer, conversation_id: str
):
    def script(reply: Reply) -> None:
        reply.begin().say("Let me see.")
        for piece in call("c1", '{"city":', ' "Zürich"}'):
            reply.delta(**piece)
        reply.done()

    model.script = script
    fields = {"tools": TOOLS, "tool_choice": "auto", "model": "large"}
    answer = chat("How is the weather?", **fields).json["assistant_message"]
    asked = model.asked[0].body
    assert {name: asked[name] for name in fields} == fields
    arguments = '{"city": "Zürich"}'
    assert (answer["content"], answer["status"]) == (
        [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_call", "id": "c1", "name": "weather", "arguments": arguments},
        ],
        "completed",
    )
    result = {"role": "tool", "content": "22 °C", "metadata": {"tool_call_id": "c1"}}
    place = f"/api/v1/conversations/{conversation_id}/messages"
    result_id = api.post(place, result).json["id"]
    model.script = hello
    body = {"conversation_id": conversation_id, "parent_id": result_id, "tools": TOOLS}
    last = api.post("/api/v1/chat", body).json["assistant_message"]
    assert (last["content"], last["parent_id"]) == ("Hello, world", result_id)
    told = model.asked[1].body["messages"]
    function = {"name": "weather", "arguments": arguments}
    assert told == [
        {"role": "user", "content": "How is the weather?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "22 °C", "tool_call_id": "c1"},
    ]


def test_a_follower_is_told_of_a_call(chat: Chat, model: ModelServer, conversation_id: str):
    def script(reply: Reply) -> None:
        reply.begin()
        for piece in call("c1", "{}"):
            reply.delta(**piece)
        reply.done()

    model.script = script
    answer = chat(headers={"Accept": "text/event-stream"}, tools=TOOLS)
    reader = Reader()
    reader.receive(answer.body)
    parts = [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": "{}"}]
    assert [*reader.texts.values()][1] == (parts, "completed")


def test_calls_are_told_apart_by_their_ids_too(chat: Chat, model: ModelServer):
    def script(reply: Reply) -> None:
        reply.begin()
        for id in ("c1", "c2", ""):  # some servers give each call the same place, some no id
            function = {"name": "weather", "arguments": "" if id == "c1" else '{"a": 1}'}
            reply.delta(tool_calls=[{"index": 9 * (not id), "id": id, "function": function}])
        reply.done()

    model.script = script
    calls = chat(tools=TOOLS).json["assistant_message"]["content"]
    assert [call["arguments"] for call in calls] == ["{}", '{"a": 1}', '{"a": 1}']
    first, second, third = (call["id"] for call in calls)
    assert (first, second, third[:5]) == ("c1", "c2", "call_")


@pytest.mark.parametrize(
    "piece",
    [
        {"tool_calls": [{"index": "0"}]},
        {"tool_calls": [{"id": 5}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 1}}]},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": "{}"}}]},
        {"tool_calls": 1},
        {"content": 1},
    ],
    ids=str,
)
def test_a_call_that_makes_no_sense_is_a_failure(
    chat: Chat, model: ModelServer, conversation_id: str, piece: dict[str, Any]
):
    model.script = lambda reply: reply.begin().say("Hel").delta(**piece).done()
    assert_failed(chat(tools=TOOLS), conversation_id, "Hel")
