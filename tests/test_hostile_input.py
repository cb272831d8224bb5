"""Tests on every route that no input of a client causes a server error."""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from db.engine.database import database

from .support.clients import Api, assert_some_problem
from .support.world import PROJECT, ROUTES, USER, Request, make_world, request_for

HUGE_INTEGER = "9" * 5_000


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.fixture
def api(api: Api) -> Api:
    database.obj.pragma("synchronous", "off")  # faster; no row must survive a power cut
    database.close()
    api.headers["X-User-Id"] = USER
    return api


def assert_fine_or_refused(api: Api, requests: Iterable[Request], **rest: Any) -> None:
    """Assert that each request succeeds and leaves readable rows, or gets a problem below 500."""
    for request in requests:
        answer = request.send(api, **rest)
        if answer.status >= 300:
            assert answer.status < 500, answer
            assert_some_problem(answer)
        elif request.method in ("POST", "PATCH"):
            assert_readable(api)


def assert_readable(api: Api) -> None:
    page = api.get("/api/v1/conversations").json
    for conversation in page["conversations"]:
        path = f"/api/v1/conversations/{conversation['id']}"
        assert api.get(path).json == conversation
        assert api.get(f"{path}/messages").json["messages"] == conversation["messages"]
        assert api.get(f"{path}/events").status == 200


def to_every_route() -> Iterator[Request]:
    return (request_for(route, make_world()) for route in ROUTES)


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"1",
        b'"text"',
        b"NaN",
        b"Infinity",
        b"1e999",
        HUGE_INTEGER.encode(),
        b"\xff",
        b"\xed\xa0\x80",
        b'"\xed\xa0\x80"',
        b'{"title": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"title": "a\x00"}',
        b'{"title": "\\u0000"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"title": "one", "title": "two"}',
        b'{"project_id": {"$ne": null}}',
        b"[" + b"{}," * 100 + b"{}]",
        nested(200),
        nested(100_000),
        b'{"a":' * 100_000,
        b" " * 7_000_000,
    ],
    ids=lambda body: f"{len(body)} {body[:16]!r}",
)
def test_a_hostile_body_causes_no_server_error(api: Api, body: bytes):
    assert_fine_or_refused(api, to_every_route(), body=body)


@pytest.mark.parametrize(
    "value",
    [
        b"null",
        b"true",
        b"-1",
        b"1.5",
        b"-0",
        b"1e999",
        b"1e308",
        b"1180591620717411303424",
        b"9223372036854775808",
        HUGE_INTEGER.encode(),
        b"9" * 4_000,
        b'""',
        b'" "',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\xff"',
        '"\u202e😀"'.encode(),
        b"[]",
        b"{}",
        b"[[]]",
        b'[{"type": "text", "text": "\\u0000"}]',
        b'[{"type": "text", "text": "\\ud83d\\ude00"}]',
        b'[{"n": ' + b"9" * 4_000 + b"}]",
        b'[{"n": 1e999}]',
        b'{"\\u0000": 1}',
        b'[{"deep": ' + nested(150) + b"}]",
        b'{"deep": ' + nested(150) + b"}",
        nested(190),
        nested(100_000),
    ],
    ids=lambda value: f"{len(value)} {value[:16]!r}",
)
def test_a_hostile_value_in_any_field_causes_no_server_error(api: Api, value: bytes):
    for route in ROUTES:
        request = request_for(route, make_world())
        for field in (*(request.json or ()), "metadata"):
            body = json.dumps({**(request.json or {}), field: "@"}).encode().replace(b'"@"', value)
            assert_fine_or_refused(api, [request], body=body)


@pytest.mark.parametrize(
    "segment",
    [
        "%00",
        "%ff",
        "%2F",
        "%25",
        "%",
        "%zz",
        "%ED%A0%80",
        "%C3%BC",
        "ü",
        "😀",
        "..",
        "%2e%2e",
        "*",
        "{conversation_id}",
        "'%20OR%201=1--",
        "1" * 9_000,
        "１" * 32,
        PROJECT.upper(),
        PROJECT.replace("-", ""),
        f"urn:uuid:{PROJECT}",
    ],
    ids=lambda segment: ascii(segment[:20]),
)
def test_a_hostile_path_segment_causes_no_server_error(api: Api, segment: str):
    world = make_world()
    assert_fine_or_refused(
        api,
        (
            request_for(route, world._replace(**{place: segment}))
            for route in ROUTES
            for place in route.view_args
        ),
    )


@pytest.mark.parametrize(
    "query",
    [
        "unknown=1",
        "=",
        "&&&",
        "%ff=%ff",
        "limit",
        "limit=",
        "limit=0",
        "limit=-1",
        "limit=1&limit=2",
        "limit=1180591620717411303424",
        f"limit={HUGE_INTEGER}",
        "limit=1e999",
        "limit=１",
        "skip=-1",
        "skip=9007199254740991",
        "skip=1180591620717411303424",
        f"skip={HUGE_INTEGER}",
        "skip=%00",
        "after=x",
        "after=%00",
        f"after={PROJECT}",
        f"after={PROJECT}&before={PROJECT}",
        "order=sideways",
        "is_archived=perhaps",
        "is_archived=true&is_archived=true",
        "include_messages=2",
        "project_id=%ff",
        "wait=nan",
        "wait=inf",
        "wait=-1",
        "wait=1e-400",
    ],
    ids=lambda query: query[:30],
)
def test_a_hostile_query_causes_no_server_error(api: Api, query: str):
    assert_fine_or_refused(
        api,
        (r._replace(path=f"{r.path}?{query}", query={}) for r in to_every_route()),
    )


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-User-Id", ""),
        ("X-User-Id", " "),
        ("X-User-Id", "\0"),
        ("X-User-Id", "\xff"),
        ("X-User-Id", "x" * 9_000),
        ("X-API-Key", ""),
        ("X-API-Key", "ü"),
        ("X-API-Key", "\0"),
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "x" * 256),
        ("Idempotency-Key", "\0"),
        ("Idempotency-Key", "ü"),
        ("If-Match", ""),
        ("If-Match", '"'),
        ("If-Match", "ü"),
        ("If-None-Match", ","),
        ("Last-Event-ID", ""),
        ("Last-Event-ID", "-1"),
        ("Last-Event-ID", "1.0"),
        ("Last-Event-ID", HUGE_INTEGER),
        ("Accept", "application/octet-stream"),
        ("Accept", ""),
        ("Content-Type", ""),
        ("Content-Type", ";"),
        ("Content-Type", "ü"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Type", "application/json; charset=utf-16"),
        ("Content-Encoding", "gzip"),
        ("Authorization", "ü"),
    ],
    ids=lambda part: ascii(part[:20]),
)
def test_a_hostile_header_causes_no_server_error(api: Api, header: str, value: str):
    assert_fine_or_refused(api, to_every_route(), headers={header: value})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", b'{"input":[%s]}'),
        ("/v1/responses", b'{"input":"x","tools":[%s]}'),
        (
            "/v1/responses",
            b'{"input":[{"type":"function_call_output","call_id":"c","output":[%s]}]}',
        ),
        ("/v1/conversations", b'{"items":[%s]}'),
    ],
    ids=range(4),
)
def test_a_million_wrong_values_are_refused_at_the_first(api: Api, path: str, body: bytes):
    began = time.process_time()
    answer = api.post(path, body=body % b",".join([b"0"] * 1_000_000))
    assert answer.status == 400
    assert len(answer.body) < 1_000
    assert time.process_time() - began < 2
