"""The server behind `chalice local`: one request at a time, and nobody waits for a slow one."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import parse_headers
from io import StringIO
from typing import Any

import pytest
from chalice.config import Config
from chalice.local import LocalDevServer

from app import app
from handlers.http import local, server
from handlers.http.local import Leader
from handlers.http.logs import log
from handlers.http.server import Connection, LocalServer

from .clients import Answer, Api, OverHttp
from .conftest import PROJECT
from .model_server import ModelServer, Reply
from .processes import PATIENCE

CONVERSATIONS = "/api/v1/conversations"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def development(configure: Callable[..., None]) -> Iterator[LocalDevServer]:
    """A server in this process, on an open stage, that takes connections and answers nobody."""
    configure(require_api_key="false")
    development = LocalDevServer(
        app, Config(), "127.0.0.1", 0, handler_cls=Connection, server_cls=LocalServer
    )
    yield development
    development.server.server_close()


@contextmanager
def serving(development: LocalDevServer) -> Iterator[None]:
    thread = threading.Thread(target=development.serve_forever)
    thread.start()
    yield
    development.shutdown()
    thread.join(PATIENCE)
    assert eventually(lambda: leaders() == 0)


@pytest.fixture
def port(development: LocalDevServer) -> Iterator[int]:
    """Where it answers."""
    with serving(development):
        yield development.server.server_port


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
    transport = OverHttp(port)
    with closing(transport.connection):
        yield Api(transport)


def answer(connection: socket.socket) -> tuple[int, Any]:
    (only,) = answers(connection, 1)
    return only


def answers(connection: socket.socket, count: int) -> list[tuple[int, Any]]:
    """Statuses and bodies."""
    found = []
    with connection.makefile("rb") as stream:
        for _ in range(count):
            status = int(stream.readline().split()[1])
            headers = parse_headers(stream)
            found.append((status, json.loads(stream.read(int(headers["Content-Length"])))))
    return found


def leaders() -> int:
    return sum(isinstance(thread, Leader) for thread in threading.enumerate())


def eventually(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_connections_without_a_request_take_no_thread(connect: Connect, api: Api):
    assert eventually(lambda: leaders() == 1)
    before = threading.active_count()
    for _ in range(200):
        connect()
    assert api.get("/health").status == 200
    assert eventually(lambda: threading.active_count() <= before)


def test_a_client_that_sends_half_a_request_keeps_nobody_waiting(connect: Connect, api: Api):
    body = json.dumps({"project_id": PROJECT}).encode()
    head = f"POST {CONVERSATIONS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    whole = head.encode() + body
    slow = [connect() for _ in range(len(whole) // 20)]
    for number, connection in enumerate(slow, 1):
        connection.sendall(whole[: number * 20])  # each stops somewhere else
    for _ in range(3):
        assert api.get("/health").status == 200
    for number, connection in enumerate(slow, 1):
        connection.sendall(whole[number * 20 :] + HEALTH)
        assert [status for status, _ in answers(connection, 2)] == [201, 200]
    assert len(api.get(CONVERSATIONS).json["conversations"]) == len(slow)
    # Their threads are not needed any more, and their connections go on.
    assert eventually(lambda: leaders() == 1)
    for connection in slow:
        connection.sendall(HEALTH)
        assert answer(connection)[0] == 200


def test_requests_sent_together_are_answered_in_their_order(connect: Connect):
    connection = connect()
    paths = ["/health", f"{CONVERSATIONS}?limit=7", f"{CONVERSATIONS}?limit=8"]
    connection.sendall(b"".join(HEALTH.replace(b"/health", path.encode()) for path in paths))
    bodies = [body for _, body in answers(connection, len(paths))]
    assert [body.get("limit") for body in bodies] == [None, 7, 8]


def test_a_client_that_sends_many_together_lets_others_in(
    development: LocalDevServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log.handlers[0], "stream", lines := StringIO())
    address = development.server.server_address
    with socket.create_connection(address) as greedy, socket.create_connection(address) as other:
        greedy.sendall(HEALTH * 300)
        other.sendall(HEALTH.replace(b"/health", b"/openapi.json"))
        with serving(development):
            assert [status for status, _ in answers(greedy, 300)] == [200] * 300
            assert answer(other)[0] == 200
    routes = [json.loads(line).get("route") for line in lines.getvalue().splitlines()]
    assert "/openapi.json" in routes[:5]


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody finds out that a request takes long: it has to say so itself."""
    monkeypatch.setattr(server, "TICK", 10 * PATIENCE)


@pytest.mark.usefixtures("unwatched")
def test_followers_wait_and_keep_nobody_waiting(port: int, api: Api):
    path = api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]

    def follow(_: int) -> Answer:
        transport = OverHttp(port)
        with closing(transport.connection):
            return Api(transport).get(f"{path}/events", wait=20)

    with ThreadPoolExecutor(20) as pool:
        following = [pool.submit(follow, number) for number in range(20)]
        assert eventually(lambda: leaders() == 21)
        assert not any(each.done() for each in following)
        assert api.post(f"{path}/messages", {"role": "user", "content": "Hi"}).status == 201
        for each in following:
            assert b"event: message" in each.result(PATIENCE).body
    assert eventually(lambda: leaders() == 1)


@pytest.mark.usefixtures("unwatched")
def test_a_slow_model_keeps_nobody_waiting(port: int, api: Api, model: ModelServer):
    asked, told = threading.Event(), threading.Event()

    def hesitate(reply: Reply) -> None:
        asked.set()
        reply.begin().stall(told).say("Hello").done()

    model.script = hesitate
    id = api.post(CONVERSATIONS, {"project_id": PROJECT}).json["id"]
    transport = OverHttp(port)
    with closing(transport.connection), ThreadPoolExecutor(1) as pool:
        body = {"conversation_id": id, "content": "Hi"}
        chatting = pool.submit(lambda: Api(transport).post("/api/v1/chat", body))
        assert asked.wait(PATIENCE)
        assert api.get(f"{CONVERSATIONS}/{id}").json["messages"][0]["content"] == "Hi"
        told.set()
        assert chatting.result(PATIENCE).json["assistant_message"]["content"] == "Hello"


def test_a_client_that_leaves_is_no_error(
    connect: Connect, api: Api, capsys: pytest.CaptureFixture[str]
):
    for _ in range(5):
        gone = connect()
        # Resets the connection when it is closed.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.sendall(HEALTH * 50)
        gone.close()
    assert api.get("/health").status == 200
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_no_http_is_refused_and_the_server_goes_on(connect: Connect, api: Api):
    connection = connect()
    connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")  # as a client does that speaks TLS
    assert b"400" in connection.recv(1000)
    assert api.get("/health").status == 200


def test_chalice_local_serves_with_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("chalice.local.LocalDevServer", LocalDevServer)
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    monkeypatch.setenv("AWS_CHALICE_CLI_MODE", "true")
    monkeypatch.setattr("sys.argv", ["chalice", "local"])
    local.tune()
    from chalice.local import create_local_server

    development = create_local_server(app, Config(), "127.0.0.1", 0)
    assert isinstance(development.server, LocalServer)
    development.server.server_close()
