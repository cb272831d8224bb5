"""Tests the app in gunicorn, as `make serve-production` starts it."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPResponse

import pytest

from .support.clients import Answer, Api, OverHttp, assert_problem, open_api
from .support.processes import PATIENCE, ProductionServer
from .support.world import PROJECT

pytest.importorskip("gunicorn")

CONVERSATIONS = "/api/v1/conversations"


@pytest.fixture(scope="module")
def server(url: str, key: str) -> Iterator[ProductionServer]:
    with ProductionServer(url, require_api_key="false", workers=2) as server:
        yield server


@pytest.fixture
def api(server: ProductionServer) -> Iterator[Api]:
    """A client without a key, because this server needs none."""
    with open_api(server.port) as api:
        yield api


@pytest.fixture
def conversation_path(api: Api) -> str:
    return api.post(CONVERSATIONS, {"project_id": PROJECT}).headers["location"]


def follow(transport: OverHttp, path: str) -> Answer:
    """Wait for the next event of a conversation."""
    return Api(transport).get(f"{path}/events", wait=20)


def test_followers_wait_and_keep_nobody_waiting(
    server: ProductionServer,
    api: Api,
    conversation_path: str,
):
    with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
        transports = [OverHttp(server.port) for _ in range(6)]
        for transport in transports:
            stack.enter_context(closing(transport.connection))
        following = [pool.submit(follow, transport, conversation_path) for transport in transports]
        api.post(f"{conversation_path}/messages", {"role": "user", "content": "Hello"})
        for follower in following:
            assert b"Hello" in follower.result().body


def test_a_body_may_come_in_chunks(server: ProductionServer):
    with closing(HTTPConnection("127.0.0.1", server.port)) as connection:
        pieces = [b'{"project_id": ', f'"{PROJECT}", '.encode(), b'"title": "In chunks"}']
        connection.request("POST", CONVERSATIONS, iter(pieces), encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 201
        assert json.load(response)["title"] == "In chunks"


@pytest.mark.parametrize(
    ("header", "piece"),
    [
        ("Content-Length: 1000000000000", b"x" * 100_000),
        ("Transfer-Encoding: chunked", b"186a0\r\n" + b"x" * 100_000 + b"\r\n"),
    ],
)
def test_an_endless_body_is_refused_and_not_read(
    server: ProductionServer, header: str, piece: bytes
):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = f"POST {CONVERSATIONS} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
        connection.sendall(head.encode())
        response = HTTPResponse(connection)
        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(response.begin)
            sent = 0
            with suppress(ConnectionError):
                while sent < 1_000_000_000:
                    connection.sendall(piece)
                    sent += len(piece)
            answered.result()
    assert response.status == 413
    assert sent < 100_000_000


def test_an_answer_without_a_body_has_no_content_length(
    api: Api,
    conversation_path: str,
):
    tag = api.get(conversation_path).headers["etag"]
    unchanged = api.get(conversation_path, headers={"If-None-Match": tag})
    gone = api.delete(conversation_path)
    for answer, status in ((unchanged, 304), (gone, 204)):
        assert (answer.status, answer.body) == (status, b"")
        assert "content-length" not in answer.headers


def test_a_percent_encoded_slash_stays_in_its_path_segment(api: Api, key: str):
    answer = api.get("/projects/a%2Fb%20%25/conversations", headers={"X-API-Key": key})
    assert (answer.status, answer.json["data"]) == (200, [])


def test_an_unknown_path_is_the_same_with_a_non_ascii_header(api: Api):
    assert_problem(api.get("/nowhere", headers={"Authorization": "Zo\xeb"}), 403, "unknown-path")


def test_a_key_is_required_by_default(url: str):
    with ProductionServer(url, workers=1) as server, open_api(server.port) as stranger:
        assert_problem(stranger.get(CONVERSATIONS), 401, "unauthenticated")


def test_a_server_that_is_told_to_end_answers_its_followers(url: str):
    with ProductionServer(url, require_api_key="false") as server, ThreadPoolExecutor(1) as pool:
        transport = OverHttp(server.port)
        with closing(transport.connection):
            made = Api(transport).post(CONVERSATIONS, {"project_id": PROJECT})
            following = pool.submit(follow, transport, made.headers["location"])
            time.sleep(0.1)
            server.terminate()
            assert following.result(PATIENCE).body == b"retry: 500\n\n"
        assert server.exit_code() == 0


def test_a_bad_setting_ends_the_start_with_one_sentence(
    url: str,
    capfd: pytest.CaptureFixture[str],
):
    assert ProductionServer(url, stream_timeout="never").start().exit_code() == 2
    assert capfd.readouterr().err == (
        "confab: STREAM_TIMEOUT is not usable: Input should be a valid number, unable to parse "
        "string as a number.\n"
    )
