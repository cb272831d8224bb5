"""Tests that the AI SDK's parts arrive as the answer is written, and what hanging up means."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from db.engine.connect import Store
from handlers.http import waiting

from .support.clients import Api, open_api
from .support.live import Live
from .support.local_server import eventually, threads_aside
from .support.model_server import ModelServer, Stepwise
from .support.ui_messages import parts_of, text_in, ui

CHAT = "/api/chat"
START, HEL = ["start"], ["start", "text-start", "text-delta"]
HELLO = [*HEL, "text-delta"]
ENDED = [*HELLO, "text-end", "finish"]
STOPPED = [*HEL, "text-end", "message-metadata", "abort"]


@pytest.fixture
def api(either_store: Store, port: int) -> Iterator[Api]:
    """A client of a server whose rows are on either engine."""
    with open_api(port) as api:
        yield api


@pytest.fixture
def model(configure: Callable[..., None]) -> Iterator[ModelServer]:
    with ModelServer() as server:
        configure(chat_base_url=server.url, chat_timeout=10)
        yield server


@pytest.fixture
def script(model: ModelServer) -> Stepwise:
    """What the model says: "Hel" and "lo" when it is told to."""
    model.script = script = Stepwise("Hel", "lo")
    return script


Open = Callable[..., Live]


@pytest.fixture
def submit(api: Api, port: int) -> Iterator[Open]:
    opened: list[Live] = []

    def begin(*history: dict[str, Any], **fields: Any) -> Live:
        body = {"id": "c", "messages": history or [ui("1", "Hi")], **fields}
        opened.append(Live(port, "POST", CHAT, body))
        return opened[-1]

    yield begin
    for live in opened:
        live.hang_up()


@pytest.fixture
def resume(api: Api, port: int) -> Iterator[Open]:
    opened: list[Live] = []

    def begin() -> Live:
        opened.append(Live(port, "GET", f"{CHAT}/c/stream"))
        return opened[-1]

    yield begin
    for live in opened:
        live.hang_up()


def kinds(body: bytes) -> list[str]:
    whole = body[: body.rfind(b"\n\n") + 2] if b"\n\n" in body else b""
    is_ended = whole.endswith(b"data: [DONE]\n\n")
    return [part["type"] for part in parts_of(whole, is_ended)] if whole else []


def wait_for(live: Live, parts: list[str]) -> None:
    live.wait_for_body(lambda body: kinds(body) == parts)


def messages(api: Api) -> list[tuple[str, Any]]:
    found = api.get(f"{CHAT}/c").json["messages"]
    return [(text_in(message), message.get("metadata")) for message in found]


def test_each_piece_is_a_part_as_it_comes(submit: Open, script: Stepwise, api: Api):
    live = submit()
    wait_for(live, START)  # before the model has said anything
    assert live.response.headers["Transfer-Encoding"] == "chunked"
    assert live.response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    script.step()
    wait_for(live, HEL)
    script.step()
    wait_for(live, HELLO)
    script.finish()
    assert kinds(live.end()) == ENDED
    assert messages(api) == [("Hi", None), ("Hello", None)]
    live.connection.request("GET", "/health")
    assert live.connection.getresponse().status == 200


def test_a_reader_that_comes_later_has_all_from_the_beginning(
    submit: Open, resume: Open, script: Stepwise
):
    first = submit()
    script.step()
    wait_for(first, HEL)
    late = resume()
    wait_for(late, HEL)
    assert late.body == first.body
    first.hang_up()
    script.finish()
    assert kinds(late.end()) == ENDED
    again = resume()  # it has just ended: its text comes in one
    parts = parts_of(again.end())
    assert [part["type"] for part in parts] == [*HEL, "text-end", "finish"]
    assert parts[2]["delta"] == "Hello"
    assert parts[0] == parts_of(late.body)[0]


def test_a_flushed_body_has_the_bytes_of_a_later_one(
    submit: Open, resume: Open, model: ModelServer
):
    model.script = lambda reply: reply.begin().say("Größe 👋").done()
    live = submit()
    assert len(parts_of(live.end())) == 5
    assert resume().end() == live.body


def test_hanging_up_is_not_stopping(submit: Open, script: Stepwise, api: Api):
    live = submit()
    wait_for(live, START)
    live.hang_up(reset=True)
    script.finish()
    assert eventually(lambda: messages(api) == [("Hi", None), ("Hello", None)])


@pytest.mark.parametrize("by", ["stop", "the next message"])
def test_an_answer_is_stopped(submit: Open, resume: Open, script: Stepwise, api: Api, by: str):
    live = submit()
    script.step()
    wait_for(live, HEL)
    late = resume()
    wait_for(late, HEL)
    if by == "stop":
        assert api.post(f"{CHAT}/c/stop").status == 204
    else:
        submit(ui("1", "Hi"), ui("2", "Wait"))
    assert kinds(live.end()) == kinds(late.end()) == STOPPED
    assert messages(api)[1] == ("Hel", {"status": "incomplete"})
    script.finish()
    assert eventually(lambda: threads_aside() == 0)
    assert messages(api)[1] == ("Hel", {"status": "incomplete"})


def test_copies_follow_the_answer_that_the_first_one_asked_for(submit: Open, script: Stepwise):
    copies = [submit() for _ in range(4)]
    for live in copies:
        wait_for(live, START)
    script.finish()
    assert {len(parts_of(live.end())) >= 5 for live in copies} == {True}
    starts = {parts_of(live.body)[0]["messageId"] for live in copies}
    assert len(starts) == 1


def test_a_failure_is_told_to_whoever_asked_and_not_to_others(
    submit: Open, resume: Open, script: Stepwise
):
    live = submit()
    script.step()
    wait_for(live, HEL)
    late = resume()
    wait_for(late, HEL)
    script.cut()
    assert kinds(live.end()) == [*STOPPED[:-1], "error"]
    assert kinds(late.end()) == STOPPED


def test_a_silent_response_has_signs_of_life(
    submit: Open, script: Stepwise, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waiting, "SIGN_OF_LIFE_SECONDS", 0.3)
    live = submit()
    live.wait_for_body(lambda body: body.count(b":\n\n") >= 2)
    assert kinds(live.body) == START
    script.step()
    wait_for(live, HEL)
    script.finish()
    assert kinds(live.end()) == ENDED


def test_a_followed_conversation_has_signs_of_life_too(
    api: Api, port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waiting, "SIGN_OF_LIFE_SECONDS", 0.2)
    project = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    made = api.post("/api/v1/conversations", {"project_id": project}).json
    path = f"/api/v1/conversations/{made['id']}/events?live=true&wait=1"
    with Live(port, "GET", path) as live:
        assert 2 <= live.end().count(b":\n\n") <= 6


def test_head_does_not_wait(submit: Open, script: Stepwise, api: Api):
    live = submit()
    wait_for(live, START)
    answer = api.request("HEAD", f"{CHAT}/c/stream")
    assert (answer.status, answer.body) == (200, b"")
    script.finish()
    live.end()
