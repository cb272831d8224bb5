"""Chat: `/api/v1/chat`, against a model's server that does well, and ones that do not."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from db.conversation import Conversation
from db.database import database
from db.message import Draft, Message
from db.scope import EVERYTHING

from .clients import Answer, Api, assert_problem
from .conftest import PROJECT, Clock
from .model_server import ModelServer, Reply, hello
from .processes import ROOT
from .readers import Reader
from .test_events import Follower, say

CHAT = "/api/v1/chat"
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


@pytest.fixture
def model(configure: Callable[..., None]) -> Iterator[ModelServer]:
    with ModelServer() as server:
        configure(chat_base_url=server.url, chat_timeout=5)
        yield server


@pytest.fixture
def chat(api: Api, conversation_id: str) -> Callable[..., Answer]:
    def send(content: Any = "Hi", **rest: Any) -> Answer:
        database.close()
        return api.post(CHAT, {"conversation_id": conversation_id, "content": content}, **rest)

    return send


Chat = Callable[..., Answer]


def messages(conversation_id: str) -> list[tuple[str, object, str]]:
    rows = Message.page_for(EVERYTHING, conversation_id).rows
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
def test_an_echo_says_what_text_there_is(chat: Chat, content: object, echo: str):
    assert chat(content).json["assistant_message"]["content"] == echo


def test_a_model_answers(chat: Chat, model: ModelServer, conversation_id: str):
    assert chat().json["assistant_message"]["content"] == "Hello, world"
    assert messages(conversation_id) == [
        ("user", "Hi", "completed"),
        ("assistant", "Hello, world", "completed"),
    ]


def test_a_model_is_asked_as_openai_says(
    chat: Chat, model: ModelServer, configure: Callable[..., None]
):
    configure(chat_base_url=model.url + "/", chat_model="small", chat_api_key="sk-secret")
    chat()
    (asked,) = model.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer sk-secret"
    assert asked.headers["accept"] == "text/event-stream"
    assert asked.body == {
        "model": "small",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_without_a_key_none_is_sent(chat: Chat, model: ModelServer):
    chat()
    assert "authorization" not in model.asked[0].headers


def test_a_model_is_told_the_completed_messages_in_order(
    chat: Chat, model: ModelServer, conversation_id: str
):
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    drafts = [
        Draft("system", "Be brief."),
        Draft("user", picture),
        Draft("assistant", "A square", "incomplete"),
        Draft("assistant", "Writing", "in_progress"),
        Draft("assistant", "A circle"),
        Draft("tool", "42", metadata={"tool_call_id": "call-7"}),
    ]
    rows = Message.append(EVERYTHING, conversation_id, drafts)
    Message.edit(EVERYTHING, conversation_id, rows[4].id, content="A triangle")
    chat([{"type": "text", "text": "And this?"}])
    assert model.asked[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": picture},
        {"role": "assistant", "content": "A triangle"},
        {"role": "tool", "content": "42", "tool_call_id": "call-7"},
        {"role": "user", "content": [{"type": "text", "text": "And this?"}]},
    ]


def test_bytes_may_arrive_in_any_portions(chat: Chat, model: ModelServer):
    text = "Größe: 𝄞 \u2028 \x85 👩‍👩‍👧"

    def script(reply: Reply) -> None:
        reply.begin()
        chunk = f'data: {{"choices": [{{"delta": {{"content": "{text}"}}}}]}}\r\n\r\n'
        for byte in (chunk + "data: [DONE]\r\n\r\n").encode():
            reply.send(bytes([byte]))
        reply.end()

    model.script = script
    assert chat().json["assistant_message"]["content"] == text


def test_what_cannot_be_stored_is_replaced(chat: Chat, model: ModelServer):
    model.script = lambda reply: (
        reply.begin().say("nul \0, ", "half \ud83d", " and \ude00, ", "\ud83d\ude00").done()
    )
    expected = "nul \ufffd, half \ufffd and \ufffd, 😀"
    assert chat().json["assistant_message"]["content"] == expected


def test_what_is_no_message_of_the_stream_is_passed_over(chat: Chat, model: ModelServer):
    def script(reply: Reply) -> None:
        reply.begin().send(b": thinking\n\nretry: 3000\n\nid: 7\nevent: ping\n\n")
        reply.event({"choices": [{"delta": {"content": "Hello"}}], "error": None}).done()

    model.script = script
    assert chat().json["assistant_message"]["content"] == "Hello"


NONSENSE = {
    "no json": "Hello",
    "a number": "7",
    "a list": "[]",
    "no choices": "{}",
    "a choice that is none": '{"choices": [7]}',
    "no delta": '{"choices": [{}]}',
    "no text": '{"choices": [{"delta": {"content": 7}}]}',
    "deep": "[" * 100_000,
    "a long number": "1" * 5_000,
}

# What a model's server may do after it said "Hel" and "lo".
FAILURES: dict[str, Callable[[Reply], object]] = {
    "ends without [DONE]": lambda reply: reply.end(),
    "hangs up in mid-event": lambda reply: reply.send(b'data: {"choices": [{"del'),
    "is killed in mid-event": lambda reply: reply.send(b'data: {"choices": [{"del').cut(),
    "reports an error": lambda reply: reply.event({"error": {"message": "No"}}).done(),
    **{
        f"talks nonsense, {kind}": lambda reply, data=data: reply.event(data).done()
        for kind, data in NONSENSE.items()
    },
}
STALLS: dict[str, Callable[[Reply], Reply]] = {
    "says nothing more": lambda reply: reply.stall(),
    "stops in mid-event": lambda reply: reply.send(b'data: {"choices": [], ').stall(),
    "goes on thinking": lambda reply: reply.repeat(b": thinking\n\n"),
    "goes on without a text": lambda reply: reply.repeat(b'data: {"choices": []}\n\n'),
}

# What it may do instead of an answer.
REFUSALS: dict[str, Callable[[Reply], object]] = {
    "answers 429": lambda reply: reply.begin(429, "application/json").send(b"{}").end(),
    "answers 500": lambda reply: reply.begin(500, "text/html").send(b"<h1>Oh no").end(),
    "answers 302": lambda reply: reply.begin(302).end(),
    "answers a page": lambda reply: reply.begin(200, "text/html").send(b"<h1>Hi").end(),
    "answers json": lambda reply: (
        reply.begin(200, "application/json").send(b'{"choices": []}').end()
    ),
    "answers nothing": lambda reply: reply.begin().end(),
    "speaks no http": lambda reply: reply.send(b"220 mail.example.com ESMTP"),
    "hangs up": lambda reply: None,
    "is killed": lambda reply: reply.cut(),
}


def assert_failed(answer: Answer, conversation_id: str, part: str) -> dict[str, Any]:
    """A 502, and both messages are there, with the part that came."""
    problem = assert_problem(answer, 502, "model-failed")
    user, assistant = Message.page_for(EVERYTHING, conversation_id).rows
    database.close()
    assert (user.content, user.status) == ("Hi", "completed")
    assert (assistant.content, assistant.status) == (part, "incomplete")
    assert problem["user_message_id"] == user.id
    assert problem["assistant_message_id"] == assistant.id
    return problem


@pytest.mark.parametrize("failure", FAILURES)
def test_a_model_that_dies_midway_leaves_the_part_that_came(
    chat: Chat, model: ModelServer, conversation_id: str, failure: str
):
    model.script = lambda reply: FAILURES[failure](reply.begin().say("Hel", "lo"))
    assert_failed(chat(), conversation_id, "Hello")


@pytest.mark.parametrize("stall", STALLS)
def test_a_model_that_stalls_is_given_up_in_time(
    chat: Chat,
    model: ModelServer,
    configure: Callable[..., None],
    conversation_id: str,
    stall: str,
):
    configure(chat_timeout=1)
    model.script = lambda reply: STALLS[stall](reply.begin().say("Hello")).say(" at last").done()
    problem = assert_failed(chat(), conversation_id, "Hello")
    assert problem["detail"] == "The model took more than 1 seconds."


def test_a_model_that_does_not_begin_is_given_up_in_time(
    chat: Chat, model: ModelServer, configure: Callable[..., None], conversation_id: str
):
    configure(chat_timeout=0.2)
    model.script = lambda reply: hello(reply.stall())
    problem = assert_failed(chat(), conversation_id, "")
    assert problem["detail"] == "The model was silent for 0.2 seconds."


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_model_that_gives_no_answer_leaves_the_question(
    chat: Chat, model: ModelServer, conversation_id: str, refusal: str
):
    model.script = REFUSALS[refusal]
    assert_failed(chat(), conversation_id, "")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://127.0.0.1:99999", "http://[", "http://"]
)
def test_a_model_that_cannot_be_reached_leaves_the_question(
    chat: Chat, configure: Callable[..., None], conversation_id: str, url: str
):
    configure(chat_base_url=url)
    assert_failed(chat(), conversation_id, "")


@pytest.mark.parametrize(("status", "says"), [(429, "answered 429"), (503, "answered 503")])
def test_a_caller_learns_what_the_models_server_answered(
    chat: Chat, model: ModelServer, conversation_id: str, status: int, says: str
):
    model.script = lambda reply: reply.begin(status, "application/json").send(b"{}").end()
    assert says in assert_failed(chat(), conversation_id, "")["detail"]


def test_a_failed_answer_is_not_told_to_the_model_later(chat: Chat, model: ModelServer):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    chat()
    model.script = hello
    assert chat("Again").status == 200
    told = [message["content"] for message in model.asked[1].body["messages"]]
    assert told == ["Hi", "Again"]


def test_the_answer_can_be_the_events(chat: Chat, model: ModelServer, conversation_id: str):
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
    """What a chat answers in which, after "Hel" and before "lo", something happens to the answer,
    whose id is given."""
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
        Conversation.remove(EVERYTHING, conversation_id)

    answer = in_mid_answer(chat, model, conversation_id, delete)
    assert_problem(answer, 404, "conversation-not-found")
    assert Message.select().count() == 0


def test_the_answer_may_be_deleted_meanwhile(chat: Chat, model: ModelServer, conversation_id: str):
    def delete(id: str) -> None:
        Message.remove(EVERYTHING, conversation_id, id)

    answer = in_mid_answer(chat, model, conversation_id, delete)
    assert_problem(answer, 404, "message-not-found")
    assert messages(conversation_id) == [("user", "Hi", "completed")]


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_the_answer_may_be_stopped_meanwhile(
    chat: Chat, model: ModelServer, conversation_id: str, status: str
):
    def stop(id: str) -> None:
        Message.edit(EVERYTHING, conversation_id, id, status=status)

    answer = in_mid_answer(chat, model, conversation_id, stop)
    problem = assert_problem(answer, 409, "stream-finished")
    assert problem["message_status"] == status
    assert messages(conversation_id)[1] == ("assistant", "Hel", status)


def test_a_retry_meanwhile_is_a_conflict_and_asks_nobody(
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


def test_a_retry_after_a_failure_asks_nobody(chat: Chat, model: ModelServer, conversation_id: str):
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
        dying.setattr("handlers.chat._answer", die)
        with pytest.raises(KeyboardInterrupt):
            chat(headers=KEY)
    assert_problem(chat(headers=KEY), 409, "request-in-progress")
    clock.move(seconds=61)
    assert_failed(chat(headers=KEY), conversation_id, "")
    assert model.asked == []


def test_an_unknown_conversation_costs_no_model(api: Api, model: ModelServer):
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


def test_what_only_a_model_needs_is_imported_when_one_is_asked():
    code = "import sys, app; sys.exit(any('httpx' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
