"""Tests the server of `chalice local`: one request at a time, and no wait for slow ones."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import parse_headers
from io import StringIO
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalDevServer

from app import app
from db import search
from handlers.http.logs import log
from server import install
from server.gateway import Gateway, GatewayRequest
from server.local import LocalServer
from server.loop import SCANNING_THREADS

from .support.clients import Api, assert_problem, open_api
from .support.local_server import eventually, serving, threads_aside
from .support.model_server import ModelServer, Reply
from .support.processes import PATIENCE
from .support.world import PROJECT

CONVERSATIONS = "/api/v1/conversations"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = json.dumps({"project_id": PROJECT}).encode()
POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\n" % CONVERSATIONS.encode()
CREATE = POST + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


Connect = Callable[[], socket.socket]


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    with ExitStack() as stack:

        def connection() -> socket.socket:
            made = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            return stack.enter_context(made)

        yield connection


@pytest.fixture
def api(port: int) -> Iterator[Api]:
    with open_api(port) as api:
        yield api


def answer(connection: socket.socket) -> tuple[int, Any]:
    (only,) = answers(connection, 1)
    return only


def answers(connection: socket.socket, count: int) -> list[tuple[int, Any]]:
    """Read `count` responses, and return their statuses and bodies."""
    found = []
    with connection.makefile("rb") as stream:
        for _ in range(count):
            status = int(stream.readline().split()[1])
            headers = parse_headers(stream)
            found.append((status, json.loads(stream.read(int(headers["Content-Length"])))))
    return found


def test_connections_without_a_whole_request_take_no_thread(connect: Connect, api: Api):
    assert eventually(lambda: threads_aside() == 0)
    before = threading.active_count()
    for number in range(200):
        connect().sendall(HEALTH[: number % len(HEALTH)])
    assert api.get("/health").status == 200
    assert threading.active_count() == before


def test_a_client_that_sends_half_a_request_keeps_nobody_waiting(connect: Connect, api: Api):
    slow = [connect() for _ in range(len(CREATE) // 20)]
    for number, connection in enumerate(slow, 1):
        connection.sendall(CREATE[: number * 20])  # each stops at another byte
    for _ in range(3):
        assert api.get("/health").status == 200
    for number, connection in enumerate(slow, 1):
        connection.sendall(CREATE[number * 20 :] + HEALTH)
        assert [status for status, _ in answers(connection, 2)] == [201, 200]
    assert len(api.get(CONVERSATIONS).json["conversations"]) == len(slow)


def test_a_client_that_reads_slowly_keeps_nobody_waiting(connect: Connect, api: Api):
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]
    message = {"role": "user", "content": "a" * 1_000_000}
    for _ in range(5):
        assert api.post(f"{path}/messages", message).status == 201
    slow = connect()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    slow.sendall(HEALTH.replace(b"/health", path.encode()) + HEALTH)
    for _ in range(3):
        assert api.get("/health").status == 200
    (_, conversation), (status, _) = answers(slow, 2)
    assert [len(message["content"]) for message in conversation["messages"]] == [1_000_000] * 5
    assert status == 200
    # Its extra thread has ended, and its connection stays open.
    assert eventually(lambda: threads_aside() == 0)
    slow.sendall(HEALTH)
    assert answer(slow)[0] == 200


def test_requests_sent_together_are_answered_in_their_order(connect: Connect):
    connection = connect()
    paths = ["/health", f"{CONVERSATIONS}?limit=7", f"{CONVERSATIONS}?limit=8"]
    connection.sendall(b"".join(HEALTH.replace(b"/health", path.encode()) for path in paths))
    bodies = [body for _, body in answers(connection, len(paths))]
    assert [body.get("limit") for body in bodies] == [None, 7, 8]


def test_a_client_that_sends_many_requests_together_lets_others_in(
    development: LocalDevServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log.handlers[0], "stream", lines := StringIO())
    address = development.server.socket.getsockname()
    with socket.create_connection(address) as greedy, socket.create_connection(address) as other:
        greedy.sendall(HEALTH * 300)
        other.sendall(HEALTH.replace(b"/health", b"/openapi.json"))
        with serving(development):
            assert [status for status, _ in answers(greedy, 300)] == [200] * 300
            assert answer(other)[0] == 200
    routes = [json.loads(line).get("route") for line in lines.getvalue().splitlines()]
    assert "/openapi.json" in routes[:5]


def test_a_slow_model_keeps_nobody_waiting(port: int, api: Api, model: ModelServer):
    asked, told = threading.Event(), threading.Event()

    def hesitate(reply: Reply) -> None:
        asked.set()
        reply.begin().stall(told).say("Hello").done()

    model.script = hesitate
    id = api.post(CONVERSATIONS, {"project_id": PROJECT}).json["id"]
    with open_api(port) as talker, ThreadPoolExecutor(1) as pool:
        body = {"conversation_id": id, "content": "Hi"}
        chatting = pool.submit(lambda: talker.post("/api/v1/chat", body))
        assert asked.wait(PATIENCE)
        assert api.get(f"{CONVERSATIONS}/{id}").json["messages"][0]["content"] == "Hi"
        told.set()
        assert chatting.result(PATIENCE).json["assistant_message"]["content"] == "Hello"


def test_the_loop_answers_itself_if_no_thread_can_start(api: Api, monkeypatch: pytest.MonkeyPatch):
    id = api.post(CONVERSATIONS, {"project_id": PROJECT}).json["id"]
    body = {"conversation_id": id, "content": "Hi"}

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", fail)
        assert api.post("/api/v1/chat", body).status == 200
    assert api.post("/api/v1/chat", body).status == 200
    assert api.get("/health").status == 200


def test_a_client_that_leaves_is_no_error(
    connect: Connect, api: Api, capsys: pytest.CaptureFixture[str]
):
    for _ in range(5):
        gone = connect()
        # `close` then resets the connection.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.sendall(HEALTH * 50)
        gone.close()
    assert api.get("/health").status == 200
    assert "Traceback" not in capsys.readouterr().err


def test_a_body_may_come_in_chunks(connect: Connect):
    connection = connect()
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, BODY[n : n + 1]) for n in range(len(BODY)))
    connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    status, made = answer(connection)
    assert (status, made["project_id"]) == (201, PROJECT)


def test_a_client_may_ask_before_it_sends_the_body(connect: Connect):
    connection = connect()
    head, _, body = CREATE.partition(b"\r\n\r\n")
    connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    connection.sendall(body)
    assert answer(connection)[0] == 201


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400),  # what a TLS client sends
        (b"GET /health\r\n\r\n", 400),
        (POST + b"Content-Length: many\r\n\r\n", 400),
        (POST + b"X: " + b"a" * 100_000, 431),
    ],
)
def test_input_that_is_not_http_is_refused_and_the_server_goes_on(
    connect: Connect, api: Api, sent: bytes, status: int
):
    connection = connect()
    connection.sendall(sent)
    told, body = answer(connection)
    assert (told, list(body)) == (status, ["type", "title", "status", "detail", "instance"])
    assert connection.recv(1) == b""
    assert api.get("/health").status == 200


def test_a_client_that_stops_in_the_midst_of_a_request_is_told_so(
    connect: Connect, api: Api, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("server.connection.PATIENCE_SECONDS", 0.1)
    slow = connect()
    slow.sendall(HEALTH[:20])
    status, body = answer(slow)
    assert (status, body["type"]) == (408, "/problems/request-timeout")
    assert slow.recv(1) == b""
    assert api.get("/health").status == 200


def test_an_idle_client_is_let_go(connect: Connect, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("server.connection.IDLE_SECONDS", 0.1)
    assert connect().recv(1) == b""


def test_chalice_local_uses_this_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("chalice.local.LocalDevServer", LocalDevServer)
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    monkeypatch.setenv("AWS_CHALICE_CLI_MODE", "true")
    monkeypatch.setattr("sys.argv", ["chalice", "local"])
    install.install()
    from chalice.local import create_local_server

    development = create_local_server(app, Config(), "127.0.0.1", 0)
    assert isinstance(development.server, LocalServer)
    development.server.close()


@pytest.mark.parametrize(
    "headers", [{"authorization": ["Bearer abc"]}, {"authorization": ["Bearer Zo\xeb"]}, {}]
)
def test_the_gateway_passes_authorization_on(headers: dict[str, list[str]]):
    echo = Chalice("echo", configure_logs=False)
    echo.route("/")(lambda: {"seen": [echo.current_request.headers.get("authorization")]})
    answer = Gateway(echo, Config()).answer(GatewayRequest("GET", "/", headers, b""))
    assert json.loads(answer.body) == {"seen": headers.get("authorization", [None])}


def test_a_failure_of_the_gateway_is_a_500_and_the_server_goes_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: Gateway, request: GatewayRequest) -> None:
        raise RuntimeError("the gateway broke")

    for method in ("GET", "POST"):
        with monkeypatch.context() as broken:
            broken.setattr(Gateway, "answer", fail)
            answer = api.request(method, CONVERSATIONS, {"project_id": PROJECT})
        assert_problem(answer, 500, "internal")
        assert b"broke" not in answer.body
    assert api.get("/health").status == 200


@pytest.mark.parametrize("method", ["answer", "resume"])
def test_a_failure_while_a_follower_looks_is_a_500_and_the_server_goes_on(
    port: int, api: Api, monkeypatch: pytest.MonkeyPatch, method: str
):
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]

    def fail(*_: object) -> None:
        raise RuntimeError("the gateway broke")

    with (
        ThreadPoolExecutor(1) as pool,
        open_api(port) as follower,
        monkeypatch.context() as broken,
    ):
        broken.setattr(Gateway, method, fail)
        following = pool.submit(follower.get, f"{path}/events", wait=20)
        time.sleep(0.1)
        api.post(f"{path}/messages", {"role": "user", "content": "Hi"})
        assert_problem(following.result(PATIENCE), 500, "internal")
    assert api.get("/health").status == 200


def test_searches_hold_up_nobody(port: int, monkeypatch: pytest.MonkeyPatch):
    ends, begun = threading.Event(), []

    def slow(*arguments: object) -> search.HitSlice:
        begun.append(1)
        assert ends.wait(PATIENCE)
        return search.HitSlice([], None)

    monkeypatch.setattr(search, "page_for", slow)
    with ThreadPoolExecutor(6) as pool, open_api(port) as api:

        def ask() -> int:
            with open_api(port) as other:
                return other.get("/api/v1/search", q="word").status

        searches = [pool.submit(ask) for _ in range(6)]
        try:
            assert eventually(lambda: len(begun) == SCANNING_THREADS)
            for _ in range(3):
                assert api.get("/health").status == 200
            assert len(begun) == SCANNING_THREADS  # more of them would slow each other down
        finally:
            ends.set()
        assert [each.result(PATIENCE) for each in searches] == [200] * 6
