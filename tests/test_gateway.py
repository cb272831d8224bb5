"""Tests the gateway of both servers without a socket: HEAD, unknown paths, repeated headers."""

import json
from collections.abc import Callable, Iterator
from io import StringIO
from urllib.parse import urlencode

import pytest
from chalice.app import RouteEntry
from chalice.config import Config

from app import app
from db import api_keys
from db.engine.database import database
from handlers.http.headers import REQUEST_HEADERS, SENT_ONCE
from handlers.http.logs import log
from server.gateway import Gateway, GatewayRequest

from .support.clients import Answer, assert_problem, in_lower_case
from .support.world import ROUTES, USER, make_world, name_of, request_for

GETS = [route for route in ROUTES if route.method == "GET"]

Ask = Callable[..., Answer]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """`ask("GET", "/health", ("X-User-Id", "alice"))` sends these headers beside a valid key."""
    gateway = Gateway(app, Config())
    key, _ = api_keys.make()

    def ask(method: str, target: str, *headers: tuple[str, str]) -> Answer:
        sent: dict[str, list[str]] = {}
        for name, value in (("X-API-Key", key), *headers):
            sent.setdefault(name.lower(), []).append(value)
        response = gateway.answer(GatewayRequest(method, target, sent, b""))
        return Answer(response.status, in_lower_case(dict(response.headers)), response.body)

    yield ask
    database.close()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the log has got."""
    monkeypatch.setattr(log.handlers[0], "stream", written := StringIO())
    return written


# What `/metrics` tells changes with each request.
@pytest.mark.parametrize("route", [r for r in GETS if name_of(r) != "tell_metrics"], ids=name_of)
def test_head_is_answered_as_get_without_the_body(ask: Ask, route: RouteEntry):
    request = request_for(route, make_world())
    path = f"{request.path}?{urlencode(request.query)}"
    told = ask("GET", path, ("X-User-Id", USER))
    head = ask("HEAD", path, ("X-User-Id", USER))
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "x-request-id": ""} == {**told.headers, "x-request-id": ""}
    assert head.headers["content-length"] == str(len(told.body))


def test_head_waits_for_no_news_and_has_its_line_in_the_log(ask: Ask, lines: StringIO):
    path = f"/api/v1/conversations/{make_world().conversation_id}/events?wait=20"
    version = ask("GET", path.partition("/events")[0]).headers["etag"].strip('"')
    lines.truncate(0)
    head = ask("HEAD", path, ("Last-Event-ID", version))
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    (line,) = [json.loads(line.strip("\0")) for line in lines.getvalue().splitlines()]
    assert (line["request_id"], line["status"]) == (head.headers["x-request-id"], 200)
    assert line["ms"] < 10_000


@pytest.mark.parametrize("path", app.routes)
def test_a_405_allows_head_where_it_allows_get(ask: Ask, path: str):
    other = next(method for method in ("PUT", "DELETE") if method not in app.routes[path])
    allowed = ask(other, path).headers["allow"].split(", ")
    assert allowed == [*app.routes[path], *(["HEAD"] if "GET" in app.routes[path] else [])]
    assert (ask("HEAD", path).status == 405) == ("HEAD" not in allowed)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/nowhere"),
        ("GET", "/%ff%00%zz"),
        ("GET", "//localhost/health"),
        ("GET", "//[localhost/health"),
        ("GET", "?a"),
        ("OPTIONS", "*"),
        ("CONNECT", "localhost:443"),
    ],
)
def test_an_unknown_path_is_a_403_as_on_api_gateway(
    ask: Ask, lines: StringIO, method: str, target: str
):
    answer = ask(method, target, ("Authorization", "Zo\xeb"))
    problem = assert_problem(answer, 403, "unknown-path")
    assert problem["message"] == "Missing Authentication Token"
    assert answer.headers["access-control-allow-origin"] == "*"
    (line,) = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert line["request_id"] == problem["instance"]


@pytest.mark.parametrize("values", [("a", "b"), ("a", "a")], ids="".join)
@pytest.mark.parametrize("name", SENT_ONCE.values())
def test_a_header_that_has_one_meaning_must_not_come_twice(
    ask: Ask, name: str, values: tuple[str, str]
):
    answer = ask("GET", "/api/v1/conversations", *((name, value) for value in values))
    assert name in assert_problem(answer, 400, "repeated-header")["detail"]


def test_every_header_of_ours_but_accept_must_not_come_twice():
    assert set(SENT_ONCE.values()) >= {header.name for header in REQUEST_HEADERS} - {"Accept"}


def test_other_headers_may_come_twice(ask: Ask):
    headers = [("Accept", "*/*"), ("Accept", "*/*"), ("Via", "1.1 a"), ("Via", "1.1 b")]
    assert ask("GET", "/api/v1/conversations", *headers).status == 200
