"""Tests a connection without a server: what it refuses, and when it gives its client up."""

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse
from io import StringIO
from math import inf
from types import SimpleNamespace

import pytest

from handlers.http.logs import log
from server import connection
from server.connection import (
    IDLE_SECONDS,
    MAX_HEAD_BYTES,
    MIN_BYTES_PER_SECOND,
    PATIENCE_SECONDS,
    SENDING_SECONDS,
    Connection,
)
from server.gateway import GatewayResponse

from .support.clients import Answer, assert_problem, in_lower_case

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = POST + b"Content-Length: 1000000\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED_HI = b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
OK = GatewayResponse(200, [("Content-Length", "2")], b"ok")
LARGE = GatewayResponse(200, [("Content-Length", "10000000")], b"x" * 10_000_000)
SLUGS = {400: "malformed-request", 431: "head-too-large", 501: "unknown-coding"}
HALVES = [b"G", HEALTH[:20], HEALTH[:-2], UPLOAD, UPLOAD + b"{", CHUNKED + b"1\r\n{\r\n"]


class Pair:
    """Both ends of a connection, and a clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.client, accepted = socket.socketpair()
        self.client.settimeout(5)
        self.now = 1_000.0
        self.served: Connection = Connection(accepted)

    def send(self, data: bytes) -> None:
        self.client.sendall(data)
        self.served.receive()

    def answer(self) -> Answer:
        with closing(HTTPResponse(self.client)) as response:
            response.begin()
            return Answer(response.status, in_lower_case(response.headers), response.read())

    def pass_(self, seconds: float) -> None:
        """Let time pass, and do what the loop does about it."""
        self.now += seconds
        if self.served.deadline < self.now:
            self.served.expire()


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    clock = SimpleNamespace(time=time.time, monotonic=lambda: made.now)
    made = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(connection, "time", clock)
    made = Pair()
    yield made
    made.client.close()
    made.served.socket.close()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the log has got."""
    monkeypatch.setattr(log.handlers[0], "stream", written := StringIO())
    return written


# Time


@pytest.mark.parametrize("half", HALVES)
def test_a_request_that_stops_midway_is_a_408_and_the_end_of_its_connection(
    pair: Pair, half: bytes
):
    pair.send(half)
    pair.pass_(PATIENCE_SECONDS - 1)
    assert pair.served.is_open
    pair.pass_(1.1)
    answer = pair.answer()
    assert_problem(answer, 408, "request-timeout")
    assert answer.headers["connection"] == "close"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert pair.client.recv(1) == b""


@pytest.mark.parametrize("sent", [b"", b"\r\n", HEALTH])
def test_an_idle_connection_is_closed_without_a_word(pair: Pair, sent: bytes):
    if sent:
        pair.send(sent)
    if pair.served.request:
        pair.served.respond(OK)
        assert pair.answer().status == 200
    pair.pass_(IDLE_SECONDS - 1)
    assert pair.served.is_open
    pair.pass_(1.1)
    assert not pair.served.is_open
    pair.served.socket.close()
    assert pair.client.recv(1) == b""


@pytest.mark.parametrize(("bytes_per_second", "is_late"), [(0.8, True), (1.2, False)])
def test_a_large_body_may_take_its_time_if_it_comes_steadily(
    pair: Pair, bytes_per_second: float, is_late: bool
):
    pair.send(UPLOAD)
    for _ in range(200):
        pair.send(b"x" * int(bytes_per_second * MIN_BYTES_PER_SECOND))
        pair.pass_(1)
    assert (pair.served._discarded is not None) == is_late


def test_many_bytes_buy_no_silence(pair: Pair):
    pair.send(UPLOAD)
    pair.send(b"x" * 200_000)
    pair.pass_(PATIENCE_SECONDS + 0.1)
    assert_problem(pair.answer(), 408, "request-timeout")


def test_a_request_that_is_being_answered_has_no_deadline(pair: Pair):
    pair.send(HEALTH)
    assert pair.served.deadline == inf


def test_the_next_request_has_its_whole_time_however_long_this_one_takes(pair: Pair):
    pair.send(HEALTH + HEALTH[:20])
    pair.pass_(10 * PATIENCE_SECONDS)
    pair.served.respond(OK)
    assert pair.answer().status == 200
    pair.pass_(PATIENCE_SECONDS - 1)
    pair.send(HEALTH[20:])
    assert pair.served.request is not None


def test_a_client_that_takes_nothing_of_its_response_is_given_up(pair: Pair):
    pair.send(HEALTH)
    pair.served.respond(LARGE)
    for _ in range(3):
        pair.pass_(SENDING_SECONDS - 1)
        pair.client.recv(1_000_000)
        pair.served.flush()
    assert pair.served.is_sending
    assert pair.served.is_open
    pair.pass_(SENDING_SECONDS + 0.1)
    assert not pair.served.is_open


def test_a_client_that_goes_on_sending_after_a_refusal_is_given_up(pair: Pair):
    pair.send(b"nonsense\r\n\r\n")
    for _ in range(int(PATIENCE_SECONDS)):
        assert pair.served.is_open
        pair.send(b"more")
        pair.pass_(1.01)
    assert not pair.served.is_open


# Refusals


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "not TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not HTTP/2"),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400, "HTTP/2.0"),
        (b"GET /health\r\n\r\n", 400, "HTTP/0.9"),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "method"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "one Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "one Host"),
        (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "url"),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400, "CRLF"),
        (POST + b"A : b\r\n\r\n", 400, "header"),
        (POST + b"A: b\r\n c\r\n\r\n", 400, "header"),
        (POST + b"A: b\rC: d\r\n\r\n", 400, "header"),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{", 400, "Length"),
        (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n{", 400, "Length"),
        (POST + b"Content-Length: 1, 1\r\n\r\n{", 400, "Length"),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Length"),
        (CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n", 400, "Length"),
        (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "Encoding"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "Encoding"),
        (POST + b"Transfer-Encoding: identity\r\n\r\n", 501, "Encoding"),
        (CHUNKED + b"+1\r\n{\r\n0\r\n\r\n", 400, "chunk size"),
        (CHUNKED + b"fffffffffffffffff\r\n", 400, "hunk size"),
        (POST + b"A: " + b"a" * 100_000, 431, "65,536"),
    ],
)
def test_what_is_not_a_request_is_a_problem_with_its_line_in_the_log(
    pair: Pair, lines: StringIO, sent: bytes, status: int, told: str
):
    pair.send(sent)
    assert pair.served.request is None
    answer = pair.answer()
    problem = assert_problem(answer, status, SLUGS[status])
    assert told in problem["detail"]
    assert answer.headers["connection"] == "close"
    assert answer.headers["access-control-allow-origin"] == "*"
    (line,) = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["message"] == f"Refused with {status}: {problem['detail']}"


@pytest.mark.parametrize("endless", [b"0\r\nTrailer: ", b"1;extension="])
def test_what_grows_beside_the_body_is_limited_too(pair: Pair, endless: bytes):
    pair.send(CHUNKED + endless)
    for _ in range(MAX_HEAD_BYTES // 1_000 + 1):
        pair.send(b"x" * 1_000)
    assert_problem(pair.answer(), 431, "head-too-large")


def test_what_follows_a_last_request_is_not_refused(pair: Pair, lines: StringIO):
    pair.send(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"nonsense")
    pair.served.respond(OK)
    assert pair.answer().status == 200
    assert lines.getvalue() == ""


def test_a_refusal_follows_the_answers_to_the_requests_before_it(pair: Pair):
    pair.send(HEALTH + b"nonsense\r\n\r\n")
    pair.served.respond(OK)
    with pair.client.makefile("rb") as stream:
        sent = stream.read()
    assert sent.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\nokHTTP/1.1 400 " in sent


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        ("/health?a=http://b/c", "/health?a=http://b/c"),
        ("http://localhost/health?a=b", "/health?a=b"),
        ("HTTPS://localhost:8000/health", "/health"),
        ("http://localhost?a", "?a"),
        ("*", "*"),
    ],
)
def test_a_target_may_name_its_host(pair: Pair, target: str, taken: str):
    pair.send(HEALTH.replace(b"/health", target.encode()))
    assert pair.served.request is not None
    assert pair.served.request.target == taken


def test_all_values_of_a_header_are_kept_in_their_order(pair: Pair):
    pair.send(HEALTH.replace(b"\r\n\r\n", b"\r\nA: 2\r\na: 1\r\nB: 3\r\n\r\n"))
    assert pair.served.request is not None
    assert pair.served.request.headers == {"host": ["localhost"], "a": ["2", "1"], "b": ["3"]}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_head_that_is_too_large_is_refused_however_it_comes(pair: Pair, steps: int):
    head = HEALTH[:-2] + b"A: " + b"a" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n"
    size = len(head) // steps + 1
    for start in range(0, len(head), size):
        pair.send(head[start : start + size])
    assert_problem(pair.answer(), 431, "head-too-large")
    assert pair.served.request is None


# Upgrades, and what is kept


@pytest.mark.parametrize("body", [b"Content-Length: 2\r\n\r\nhi", CHUNKED_HI])
def test_an_offer_to_upgrade_is_ignored_and_the_body_read(pair: Pair, body: bytes):
    offer = b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"
    pair.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + offer + body + HEALTH)
    assert pair.served.request is not None
    assert pair.served.request.body == b"hi"
    assert "upgrade" not in pair.served.request.headers
    pair.served.respond(OK)
    assert pair.served.is_open
    assert pair.served.request is not None
    assert pair.served.request.target == "/health"


def test_a_refused_offer_to_upgrade_takes_no_request_away(pair: Pair):
    pair.send(
        HEALTH + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nUpgrade: h2c\r\n"
        b"Connection: Upgrade\r\n\r\n"
    )
    assert pair.served.request is not None
    assert pair.served.request.target == "/health"
    pair.served.respond(OK)
    first, second = pair.client.recv(1 << 16).split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert second.startswith(b"400")


@pytest.mark.parametrize("closes", [True, False])
def test_an_offer_to_upgrade_may_ask_for_the_end_of_the_connection(pair: Pair, closes: bool):
    tokens = b"close, Upgrade" if closes else b"Upgrade"
    offer = b"Upgrade: h2c\r\nConnection: " + tokens + b"\r\n\r\n"
    pair.send(b"GET /health HTTP/1.1\r\nHost: a\r\n" + offer)
    pair.served.respond(OK)
    assert (pair.answer().headers.get("connection") == "close") == closes


def test_a_body_is_asked_for_when_the_responses_before_it_are_sent(pair: Pair):
    head = POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    pair.send(HEALTH + head)
    pair.served.respond(OK)
    assert pair.client.recv(1 << 16).endswith(b"ok" + connection.CONTINUE)
    pair.send(b"hi")
    assert pair.served.request is not None
    pair.served.respond(OK)
    assert pair.answer().status == 200


def test_a_body_that_has_come_is_not_asked_for(pair: Pair):
    pair.send(HEALTH + POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\nhi")
    for _ in range(2):
        pair.served.respond(OK)
        assert pair.answer().status == 200


@pytest.mark.parametrize("keeps", [True, False])
def test_a_client_of_http_1_0_is_told_that_its_connection_stays(pair: Pair, keeps: bool):
    pair.send(b"GET /health HTTP/1.0\r\n" + b"Connection: keep-alive\r\n" * keeps + b"\r\n")
    pair.served.respond(OK)
    assert pair.answer().headers["connection"] == ("keep-alive" if keeps else "close")
    assert pair.served.is_open == keeps


def test_a_semicolon_is_a_part_of_the_path(pair: Pair):
    pair.send(b"GET /by-key/order;v=2?a=b;c HTTP/1.1\r\nHost: a\r\n\r\n")
    assert pair.served.request is not None
    assert pair.served.request.target == "/by-key/order%3Bv=2?a=b;c"


def test_a_response_is_not_kept_when_it_is_sent(pair: Pair):
    pair.send(HEALTH)
    body = b"x" * 100_000
    kept = sys.getrefcount(body)
    pair.served.respond(OK._replace(body=body))
    while pair.served.is_sending:
        pair.client.recv(1 << 16)
        pair.served.flush()
    assert sys.getrefcount(body) == kept
    assert pair.served._unsent.obj == b""


def test_a_client_that_sent_too_much_can_read_its_last_response(pair: Pair):
    """If a socket is closed before all is read from it, the client gets a reset."""
    pair.client.sendall(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    pair.served.receive()
    pair.client.sendall(b"\r\n")
    pair.served.respond(OK)
    assert pair.served.is_open
    assert pair.client.recv(1 << 16).endswith(OK.body)
    pair.client.close()
    pair.served.receive()
    pair.served.receive()
    assert not pair.served.is_open
