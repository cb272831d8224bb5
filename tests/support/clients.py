"""Test clients for the API: in this process, over HTTP, and from a curl command line."""

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from http.client import HTTPConnection
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalGateway
from chalice.test import Client

from handlers.http import problems
from handlers.http.problems import Kind
from handlers.openai.errors import CODES, status_of


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Transport(Protocol):
    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer: ...


class InProcess:
    """A transport over Chalice's test client, without a socket."""

    def __init__(self, app: Chalice) -> None:
        self._http = Client(app, stage_name="none").http
        # Chalice's client replaces os.environ by a copy during each request. With several threads
        # a copy can stay in place, and processes that start later do not see changes to it.
        self._http._patched_env_vars = lambda variables: nullcontext()
        self._gateway = LocalGateway(app, Config())

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if method == "OPTIONS":  # the client fails on an answer without a body
            preflight = self._gateway.handle_request(method, path, headers, body)
            return Answer(preflight["statusCode"], in_lower_case(preflight["headers"]), b"")
        answer = self._http.request(method, path, headers=headers, body=body)
        return Answer(answer.status_code, in_lower_case(answer.headers), answer.body)


class OverHttp:
    """A transport over one keep-alive connection, which the first request opens."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.connection = HTTPConnection(host, port, timeout=30)

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.connection.request(method, path, body or None, headers)
        response = self.connection.getresponse()
        return Answer(response.status, in_lower_case(response.headers), response.read())


def in_lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class Api:
    """A client with default headers: `api.post(path, {"title": …})`.

    A header of `None` removes the default one.
    """

    def __init__(self, transport: Transport, headers: Mapping[str, str] | None = None) -> None:
        self.transport = transport
        self.headers = dict(headers or {})

    def request(
        self,
        method: str,
        path: str,
        json_body: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
        **query: Any,
    ) -> Answer:
        sent: dict[str, str | None] = {**self.headers, **(headers or {})}
        if body is None:
            body = b"" if json_body is None else json.dumps(json_body).encode()
            if body:
                sent.setdefault("Content-Type", "application/json")
        if query:
            path += "?" + urlencode(query, doseq=True)
        named = {name: value for name, value in sent.items() if value is not None}
        return self.transport.send(method, path, named, body)

    def get(self, path: str, **rest: Any) -> Answer:
        return self.request("GET", path, **rest)

    def post(self, path: str, json_body: Any = None, **rest: Any) -> Answer:
        return self.request("POST", path, json_body, **rest)

    def patch(self, path: str, json_body: Any = None, **rest: Any) -> Answer:
        return self.request("PATCH", path, json_body, **rest)

    def delete(self, path: str, **rest: Any) -> Answer:
        return self.request("DELETE", path, **rest)


@contextmanager
def open_api(port: int) -> Iterator[Api]:
    """A client with a connection of its own, and without a key."""
    transport = OverHttp(port)
    with closing(transport.connection):
        yield Api(transport)


def curl(line: str, port: int) -> Answer:
    """Send the request of a documented curl line to the server at `port`."""
    line = line.replace("\\\n", "").replace("localhost:8000", f"127.0.0.1:{port}")
    words = iter(shlex.split(line)[1:])
    method, headers, body, url = None, {"Accept": "*/*"}, b"", ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words).encode()
        else:
            url = word
    transport = OverHttp(port)
    with closing(transport.connection):
        path = url.removeprefix(f"http://127.0.0.1:{port}")
        return transport.send(method or ("POST" if body else "GET"), path, headers, body)


def assert_problem(answer: Answer, status: int, slug: str) -> dict[str, Any]:
    """Assert the status, type and shape of an error, and return it.

    Where another dialect tells it, the status and the shape are that one's.
    """
    if list(answer.json) == ["error"]:
        return _openai_problem(answer, slug)
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert list(problem)[:5] == ["type", "title", "status", "detail", "instance"]
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["instance"] == answer.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"].endswith(".")
    return problem


def assert_some_problem(answer: Answer) -> None:
    """Assert that an answer has the shape of an error, in whichever dialect."""
    if list(answer.json) == ["error"]:
        _assert_openai_shape(answer)
    else:
        assert_problem(answer, answer.status, answer.json["type"].removeprefix("/problems/"))


def _assert_openai_shape(answer: Answer) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    error = answer.json["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == ("server_error" if answer.status >= 500 else "invalid_request_error")
    assert error["message"].endswith(".")
    return dict(error)


def _openai_problem(answer: Answer, slug: str) -> dict[str, Any]:
    (kind,) = (k for k in vars(problems).values() if isinstance(k, Kind) and k.slug == slug)
    assert answer.status == status_of(kind), answer
    error = _assert_openai_shape(answer)
    assert kind is problems.INVALID or error["code"] == CODES.get(kind)
    return {"title": error["code"], "detail": error["message"], "errors": error}
