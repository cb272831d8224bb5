"""Tests the model client: what it asks, and how it handles every kind of answer."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from db import messages
from db.messages import Draft
from db.scope import EVERYTHING
from db.settings import settings
from handlers.http import logs
from handlers.llm import turns

from .support.chats import Chat, assert_failed
from .support.local_server import eventually
from .support.model_server import ModelServer, Reply, hello
from .support.processes import ROOT


def test_a_model_receives_a_request_in_openais_format(
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
        "stream_options": {"include_usage": True},
    }


def test_without_a_key_none_is_sent(chat: Chat, model: ModelServer):
    chat()
    assert "authorization" not in model.asked[0].headers


def test_a_model_is_told_the_context_in_order(chat: Chat, model: ModelServer, conversation_id: str):
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    drafts = [
        Draft("system", "Be brief."),
        Draft("user", picture),
        Draft("assistant", "A square", "incomplete"),
        Draft("assistant", "Writing", "in_progress"),
        Draft("assistant", "A circle"),
        Draft("assistant", [{"type": "tool_call", "id": "call-7", "name": "f", "arguments": {}}]),
        Draft("tool", "42", metadata={"tool_call_id": "call-7"}),
    ]
    rows = messages.append(EVERYTHING, conversation_id, drafts)
    messages.edit(EVERYTHING, conversation_id, rows[4].id, content="A triangle")
    chat([{"type": "text", "text": "And this?"}])
    assert model.asked[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": picture},
        {"role": "assistant", "content": "A square"},
        {
            "role": "assistant",
            "content": "A triangle",
            "tool_calls": [
                {"id": "call-7", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "content": "42", "tool_call_id": "call-7"},
        {"role": "user", "content": "And this?"},
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


def test_characters_that_cannot_be_stored_are_replaced(chat: Chat, model: ModelServer):
    model.script = lambda reply: (
        reply.begin().say("nul \0, ", "half \ud83d", " and \ude00, ", "\ud83d\ude00").done()
    )
    expected = "nul \ufffd, half \ufffd and \ufffd, 😀"
    assert chat().json["assistant_message"]["content"] == expected


def test_lines_that_carry_no_text_are_skipped(chat: Chat, model: ModelServer):
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

# What a model's server may do after it sent "Hel" and "lo".
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

# What it may do instead of sending an answer.
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
    assert problem["detail"] == "The model took more than 0.2 seconds."


def test_a_model_whose_headers_trickle_is_given_up_in_time(
    chat: Chat, model: ModelServer, configure: Callable[..., None], conversation_id: str
):
    configure(chat_timeout=1)

    def trickle(reply: Reply) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 300:
            reply.raw(bytes([byte])).stall_for(0.1)

    model.script = trickle
    began = time.monotonic()
    problem = assert_failed(chat(), conversation_id, "")
    assert time.monotonic() - began < 15  # it would take 30
    assert problem["detail"] == "The model took more than 1 seconds."


def test_a_model_that_has_not_begun_is_hung_up_on_at_once(
    chat: Chat, model: ModelServer, configure: Callable[..., None], conversation_id: str
):
    configure(chat_timeout=60)
    model.script = lambda reply: hello(reply.stall())
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        answering = pool.submit(chat)
        assert eventually(lambda: len(model.asked) == 1)
        turns.hang_up([*turns.lines])
        answer = answering.result()
    assert time.monotonic() - began < 20
    assert (answer.status, answer.json["assistant_message"]["status"]) == (200, "incomplete")


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


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-secret\0", "sk-secrét"])
def test_a_key_that_cannot_be_sent_is_told_to_nobody(
    chat: Chat,
    model: ModelServer,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
):
    """The client of HTTP quotes it. A key that was read from a file often ends with a line."""
    log = io.StringIO()
    monkeypatch.setattr(logs._handler, "stream", log)
    monkeypatch.setattr("db.settings.os.environ", {**os.environ, "CHAT_API_KEY": key})
    settings.cache_clear()
    answer = chat()
    assert answer.status >= 500
    assert "Error" in log.getvalue()
    assert "sk-secr" not in log.getvalue()
    assert b"sk-secr" not in answer.body


@pytest.mark.parametrize("url", ["http://user:sec/ret@localhost/v1", "http://user:sec#ret@[/"])
def test_a_password_in_a_url_that_cannot_be_read_is_told_to_nobody(
    chat: Chat, configure: Callable[..., None], conversation_id: str, url: str
):
    configure(chat_base_url=url)
    assert "sec" not in assert_failed(chat(), conversation_id, "")["detail"]


@pytest.mark.parametrize(("status", "says"), [(429, "answered 429"), (503, "answered 503")])
def test_a_caller_learns_what_the_models_server_answered(
    chat: Chat, model: ModelServer, conversation_id: str, status: int, says: str
):
    model.script = lambda reply: reply.begin(status, "application/json").send(b"{}").end()
    assert says in assert_failed(chat(), conversation_id, "")["detail"]


def test_httpx_is_imported_only_when_a_model_is_asked():
    code = "import sys, app; sys.exit(any('httpx' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
