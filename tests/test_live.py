"""Tests what a server that can send parts of a response does with live readers."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from chalice.local import LocalDevServer

from db.engine.connect import Store
from db.engine.database import database
from db.settings import settings
from handlers.http import waiting
from handlers.http.logs import log

from .support.clients import Api, assert_problem, open_api
from .support.live import Live
from .support.local_server import eventually, serving, threads_aside
from .support.model_server import ModelServer, Reply, Stepwise
from .support.processes import append_messages, processes
from .support.world import PROJECT

CONVERSATIONS = "/api/v1/conversations"
SSE = {"Accept": "text/event-stream"}


@pytest.fixture
def api(either_store: Store, port: int) -> Iterator[Api]:
    """A client of a server whose rows are on either engine."""
    with open_api(port) as api:
        yield api


@pytest.fixture
def path(api: Api) -> str:
    return str(api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"])


@pytest.fixture
def id(path: str) -> str:
    return path.rpartition("/")[2]


Follow = Callable[..., Live]


@pytest.fixture
def follow(path: str, port: int) -> Iterator[Follow]:
    """`follow(wait=2)` follows the conversation live."""
    opened: list[Live] = []

    def begin(wait: float = 20, **headers: str) -> Live:
        live = Live(port, "GET", f"{path}/events?live=true&wait={wait}", **headers)
        opened.append(live)
        return live

    yield begin
    for live in opened:
        live.hang_up()


@pytest.fixture
def chat(id: str, port: int) -> Iterator[Follow]:
    """`chat("Hi")` is answered with events."""
    opened: list[Live] = []

    def begin(content: str = "Hi", **fields: Any) -> Live:
        body = {"conversation_id": id, "content": content, **fields}
        opened.append(Live(port, "POST", "/api/v1/chat", body, **SSE))
        return opened[-1]

    yield begin
    for live in opened:
        live.hang_up()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the log has got."""
    monkeypatch.setattr(log.handlers[0], "stream", written := StringIO())
    return written


def open_stream(api: Api, path: str) -> str:
    draft = {"role": "assistant", "content": "", "status": "in_progress"}
    return str(api.post(f"{path}/messages", draft).json["id"])


def append(api: Api, path: str, id: str, offset: int, delta: str, **rest: Any) -> None:
    body = {"offset": offset, "delta": delta, **rest}
    assert api.post(f"{path}/messages/{id}/append", body).status == 200


def test_a_live_reader_is_told_of_everything_on_one_connection(api: Api, path: str, follow: Follow):
    live = follow()
    id = open_stream(api, path)
    live.wait_for(("", "in_progress"))
    for offset, piece in enumerate("Größe"):
        append(api, path, id, offset, piece)
        live.wait_for(("Größe"[: offset + 1], "in_progress"))
    append(api, path, id, 5, " 👋", status="completed")
    live.wait_for(("Größe 👋", "completed"))
    api.post(f"{path}/messages", {"role": "user", "content": "Thanks"})
    live.wait_for(("Größe 👋", "completed"), ("Thanks", "completed"))
    assert not live.has_ended.is_set()


def test_it_ends_after_so_many_seconds_of_nothing_and_the_connection_goes_on(
    api: Api, path: str, follow: Follow
):
    live = follow(wait=0.5)
    for number in range(3):
        time.sleep(0.3)
        api.post(f"{path}/messages", {"role": "user", "content": str(number)})
    live.wait_for(*((str(number), "completed") for number in range(3)))
    last, _ = live.parts[-1]
    live.end()
    assert time.monotonic() - last > 0.4
    live.connection.request("GET", "/health")
    assert live.connection.getresponse().status == 200


def test_a_live_body_has_the_bytes_of_one_that_is_read_at_once(api: Api, path: str, follow: Follow):
    live = follow(wait=0.5)
    for number in range(5):
        api.post(f"{path}/messages", {"role": "user", "content": str(number)})
        live.wait_for(*((str(number), "completed") for number in range(number + 1)))
    assert live.end() == api.get(f"{path}/events").body


def test_a_reader_goes_on_where_it_was(api: Api, path: str, follow: Follow):
    for number in range(3):
        api.post(f"{path}/messages", {"role": "user", "content": str(number)})
    live = follow(Last_Event_ID="2")
    assert eventually(lambda: b"event: message" in live.body)
    assert re.findall(rb"id: (\d+)", live.body) == [b"3"]


def test_a_reader_has_a_large_conversation_whole(api: Api, path: str, follow: Follow):
    text = "x" * 100_000
    for _ in range(5):
        batch = [{"role": "user", "content": text}] * 10
        assert api.post(f"{path}/messages", batch).status == 201
    live = follow(wait=1)
    live.wait_for(*[(text, "completed")] * 50)


def test_a_reader_hears_of_another_process(
    api: Api, path: str, follow: Follow, either_store: Store, id: str
):
    live = follow()
    assert eventually(lambda: bool(live.parts))
    with processes(1) as pool:
        pool.submit(append_messages, settings().database_url, id, "other", 1).result()
        live.wait_for(("other 0", "completed"))


def test_a_conversation_that_is_deleted_ends_the_response(api: Api, path: str, follow: Follow):
    live = follow()
    assert eventually(lambda: bool(live.parts))
    assert api.delete(path).status == 204
    live.end()
    answer = api.get(f"{path}/events", live="true")
    assert_problem(answer, 404, "conversation-not-found")


def test_http_1_0_has_no_chunks(api: Api, path: str, port: int):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path}/events?live=true&wait=0.3 HTTP/1.0\r\n\r\n".encode())
        api.post(f"{path}/messages", {"role": "user", "content": "Hello"})
        received = b""
        while part := client.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert b"content-length" not in head.lower()
    assert body.startswith(b"retry: 500\n\n")
    assert b'"Hello"' in body


def test_head_has_no_body(api: Api, path: str):
    answer = api.request("HEAD", f"{path}/events", live="true")
    assert (answer.status, answer.body) == (200, b"")


# --- The chat


@pytest.fixture
def model(configure: Callable[..., None]) -> Iterator[ModelServer]:
    with ModelServer() as server:
        configure(chat_base_url=server.url, chat_timeout=10)
        yield server


def test_an_answer_comes_piece_by_piece(chat: Follow, model: ModelServer):
    model.script = script = Stepwise("Hel", "lo")
    live = chat()
    live.wait_for(("Hi", "completed"), ("", "in_progress"))
    for text in ("Hel", "Hello"):
        script.step()
        live.wait_for(("Hi", "completed"), (text, "in_progress"))
    script.finish()
    live.wait_for(("Hi", "completed"), ("Hello", "completed"))
    live.end()


def test_an_answer_is_written_to_its_end_whoever_reads_it(
    api: Api, path: str, chat: Follow, follow: Follow, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    for reset in (False, True):
        live = chat()
        live.wait_for(("Hi", "completed"), ("", "in_progress"))
        live.hang_up(reset)
        script.finish()
        assert eventually(lambda: threads_aside() == 0)
        newest = api.get(path).json["messages"][-1]
        assert (newest["content"], newest["status"]) == ("Hello", "completed")
        model.script = script = Stepwise("Hel", "lo")
        api.delete(f"{path}/messages/{newest['id']}")
        api.delete(f"{path}/messages/{newest['parent_id']}")


def test_a_reader_that_takes_nothing_holds_nobody_up(
    api: Api, path: str, id: str, port: int, model: ModelServer
):
    piece, count = "x" * 100_000, 60
    model.script = lambda reply: reply.begin().say(*[piece] * count).done()
    with socket.create_connection(("127.0.0.1", port)) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = f'{{"conversation_id": "{id}", "content": "Hi"}}'
        head = (
            "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        stalled.sendall((head + body).encode())
        assert eventually(
            lambda: [m["status"] for m in api.get(path).json["messages"]] == ["completed"] * 2
        )
        assert len(api.get(path).json["messages"][1]["content"]) == len(piece) * count


def test_stop_ends_an_answer_from_anywhere(api: Api, path: str, chat: Follow, model: ModelServer):
    model.script = script = Stepwise("Hel", "lo", "!")
    live = chat()
    script.step()
    live.wait_for(("Hi", "completed"), ("Hel", "in_progress"))
    assert api.post(f"{path}/stop").status == 204
    live.wait_for(("Hi", "completed"), ("Hel", "incomplete"))
    live.end()
    script.finish()  # the model goes on, and is hung up on
    assert eventually(lambda: threads_aside() == 0)
    assert api.get(path).json["messages"][1]["content"] == "Hel"
    assert api.post(f"{path}/stop").status == 204


def test_a_model_that_fails_is_told_at_the_end(chat: Follow, model: ModelServer):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    live = chat()
    live.wait_for(("Hi", "completed"), ("Hel", "incomplete"))
    live.end()


def test_a_repeated_question_follows_the_answer_in_progress(chat: Follow, model: ModelServer):
    model.script = script = Stepwise("Hel", "lo")
    first = chat(client_id="1")
    first.wait_for(("Hi", "completed"), ("", "in_progress"))
    second = chat(client_id="1")
    assert second.response.headers["Idempotent-Replayed"] == "true"
    script.step()
    for live in (first, second):
        live.wait_for(("Hi", "completed"), ("Hel", "in_progress"))
    script.finish()
    for live in (first, second):
        live.wait_for(("Hi", "completed"), ("Hello", "completed"))
        live.end()
    assert len(model.asked) == 1


def test_what_is_wrong_with_a_question_is_told_by_the_status(
    api: Api, chat: Follow, model: ModelServer
):
    live = chat(parent_id="0f0e0d0c-0b0a-7908-8706-050403020100")
    assert live.response.status == 422
    assert model.asked == []


def test_a_server_that_ends_waits_for_answers(
    either_store: Store, development: LocalDevServer, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    with serving(development):
        port = development.server.socket.getsockname()[1]
        with open_api(port) as api:
            made = api.post(CONVERSATIONS, {"project_id": PROJECT}).json["id"]
            body = {"conversation_id": made, "content": "Hi"}
            live = Live(port, "POST", "/api/v1/chat", body, **SSE)
            live.wait_for(("Hi", "completed"), ("", "in_progress"))
        threading.Timer(0.3, script.finish).start()
    with live:
        live.wait_for(("Hi", "completed"), ("Hello", "completed"))
        live.end()
    database.close()


def test_who_asks_is_answered_while_live_readers_are_busy(
    api: Api, path: str, follow: Follow, port: int
):
    readers = [follow() for _ in range(30)]
    other = str(api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"])
    stop = threading.Event()

    def write() -> None:
        with open_api(port) as writer:
            while not stop.is_set():
                writer.post(f"{path}/messages", {"role": "user", "content": "Hello"})

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(5):
            began = time.monotonic()
            assert api.get(f"{other}/events").status == 200
            assert time.monotonic() - began < 5
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert all(reader.parts for reader in readers)


def test_stop_hangs_up_on_a_model_that_is_silent(
    api: Api, path: str, chat: Follow, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    live = chat()
    live.wait_for(("Hi", "completed"), ("", "in_progress"))
    began = time.monotonic()
    assert api.post(f"{path}/stop").status == 204
    live.end()
    assert eventually(lambda: threads_aside() == 0)
    assert time.monotonic() - began < 5
    script.finish()


def test_an_answer_that_was_stopped_makes_no_calls(
    api: Api, path: str, chat: Follow, model: ModelServer
):
    called, ends = threading.Event(), threading.Event()

    def script(reply: Reply) -> None:
        function = {"name": "weather", "arguments": "{}"}
        reply.begin().say("Hel")
        reply.delta(tool_calls=[{"index": 0, "id": "c1", "function": function}])
        called.set()
        reply.stall(ends).done()

    model.script = script
    live = chat()
    assert called.wait(10)
    live.wait_for(("Hi", "completed"), ("Hel", "in_progress"))
    api.post(f"{path}/stop")
    ends.set()
    live.end()
    assert eventually(lambda: threads_aside() == 0)
    answer = api.get(path).json["messages"][-1]
    assert (answer["content"], answer["status"]) == ("Hel", "incomplete")


def test_each_live_request_has_its_line_in_the_log(
    api: Api, path: str, follow: Follow, lines: StringIO
):
    follow(wait=0.3).end()
    left, reset = follow(), follow()
    assert eventually(lambda: bool(left.parts and reset.parts))
    left.hang_up()
    reset.hang_up(reset=True)

    def logged() -> list[str]:
        return [line for line in lines.getvalue().splitlines() if "/events" in line]

    assert eventually(lambda: len(logged()) == 3)


def test_a_live_reader_asks_again_after_a_while(
    api: Api, path: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(waiting, "LIFE_SECONDS", 0)
    live = follow(wait=0.5)
    for _ in range(20):
        api.post(f"{path}/messages", {"role": "user", "content": "Hello"})
        time.sleep(0.1)
    assert live.has_ended.is_set()
