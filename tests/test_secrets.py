"""Tests that no secret and no text is in what a server prints, whatever it is asked."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from chalice.app import RouteEntry
from cryptography.hazmat.primitives.asymmetric import rsa

from db import api_keys, user_tokens
from db.engine.database import database
from db.engine.sqlite import SqliteStore

from .support.clients import Answer, Api, open_api
from .support.identity_provider import AUDIENCE, IdentityProvider, signed
from .support.leaks import assert_hidden
from .support.model_server import ModelServer, Reply
from .support.processes import ProductionServer, Server
from .support.world import (
    PROJECT,
    ROUTES,
    SECRET,
    USER,
    Request,
    World,
    make_world,
    name_of,
    request_for,
)

MARK = "zq7xmark"  # in all that is sent
HEADERS = """
X-API-Key: @
X-API-Key: confab_@
Authorization: @
Authorization: Basic @
Authorization: Bearer @
Authorization: Bearer confab_user_@
X-User-Id: @
Idempotency-Key: @
OpenAI-Project: @
If-Match: "@"
If-None-Match: "@"
Last-Event-ID: @
Cookie: @=@
Content-Type: text/@
Content-Encoding: @
Accept: text/@
X-Request-Id: @
User-Agent: @
"""
QUERIED = ["{}", "cursor", "after", "before", "limit", "wait", "q", "user_id", "project_id", "key"]
# What is no request. llhttp and the loop refuse it before the app sees it.
MALFORMED = [
    b"@ / HTTP/1.1\r\n\r\n",
    b"GET /@ HTTP/9.9\r\nHost: @\r\n\r\n",
    b"GET /@ HTTP/1.1\r\nX-API-Key: @\r\n\r\n",
    b"GET /@ HTTP/1.1\r\nHost: @\r\nHost: @\r\n\r\n",
    b"GET /@ HTTP/1.1\r\nHost: a\r\nX-API-Key @\r\n\r\n",
    b"GET /@ HTTP/1.1\r\nHost: a\r\n@\0: @\r\n\r\n",
    b"GET /@ HTTP/1.1\r\nHost: a\r\nX-API-Key: @\r\nX-API-Key: @\r\nConnection: close\r\n\r\n",
    b"GET http://@:@@host/@?@#@ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET //@/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nUpgrade: @\r\nConnection: upgrade, close\r\n\r\n",
    b"POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: @\r\n\r\n@",
    b"POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: @, chunked\r\n\r\n@",
    b"POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n@\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nCookie: " + b"@" * 10_000 + b"\r\n\r\n",
    b"CONNECT @:443 HTTP/1.1\r\nHost: @\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\n@",
    b"\x16\x03\x01@",
]
# What a model's server may answer with what it has heard: its key, and what was said.
FAILING_MODELS: dict[str, Callable[[Reply, str], object]] = {
    "an error": lambda reply, heard: reply.begin(500).send(heard.encode()).end(),
    "an error in mid-answer": lambda reply, heard: (
        reply.begin().say("Hel").event({"error": {"message": heard}}).done()
    ),
    "another type": lambda reply, heard: reply.begin(200, heard).end(),
    "no chunk": lambda reply, heard: reply.begin().event(heard).done(),
    "a chunk of another shape": lambda reply, heard: reply.begin().event({heard: [heard]}).done(),
    "no status": lambda reply, heard: reply.raw(f"{heard}\r\n\r\n".encode()),
    "no header": lambda reply, heard: reply.raw(f"HTTP/1.1 200 OK\r\n{heard}\r\n\r\n".encode()),
    "no length": lambda reply, heard: reply.begin().say("Hel").raw(f"{heard}\r\n".encode()),
}


def mark() -> str:
    """A text that is found wherever it goes, and tells where it comes from."""
    return MARK + token_hex(6)


def spoken(request: Request, user_id: str) -> Request:
    """The request with a mark for each text of its body, which stays valid."""

    def marked(value: Any) -> Any:
        text = json.dumps(value).replace(f'"{USER}"', f'"{user_id}"')
        for words in ("Hello", "A title", "A new title", "planning", "Better", "What it is about"):
            text = text.replace(words, mark())
        return json.loads(text)

    return request._replace(json=marked(request.json), query=marked(request.query))


class DebuggedServer(Server):
    """With --debug, all that any library logs is printed. The stage is one that needs keys."""

    def _command(self) -> list[str | Path]:
        chalice, *arguments = super()._command()
        return [chalice, "--debug", *arguments, "--stage", "prod"]


def ask_all(api: Api, provider: IdentityProvider) -> list[str]:
    """Send each route a valid request, by a key and by tokens. Return all tokens."""
    tokens = []
    for route in ROUTES:
        for by in ("key", "token", "provider"):
            user = mark()
            request = spoken(request_for(route, make_world(user_id=user)), user)
            caller: dict[str, str | None] = {"X-User-Id": user}
            if by != "key":
                own = user_tokens.make(user, PROJECT, 60).plain
                database.close()
                tokens.append(own if by == "token" else provider.token(user))
                caller = {"X-API-Key": None, "Authorization": f"Bearer {tokens[-1]}"}
            answer = request.send(api, headers={**caller, "Idempotency-Key": mark()})
            assert answer.status < 300 or (answer.status == 403 and by != "key")
            if name_of(route) == "create_token" and by == "key":
                tokens.append(answer.json["token"])
    return tokens


def refused(route: RouteEntry, world: World) -> Iterator[tuple[Request, dict[str, Any]]]:
    """Requests to a route with something wrong or unknown in each part."""
    request = spoken(request_for(route, world), USER)
    for line in HEADERS.split("\n")[1:-1]:
        name, _, value = line.replace("@", mark()).partition(": ")
        yield request, {"headers": {name: value}}
    for name in QUERIED:
        yield request._replace(path=f"{request.path}?{name.format(mark())}={mark()}", query={}), {}
    for place in route.view_args:
        yield request_for(route, world._replace(**{place: mark()})), {}
    yield request, {"body": f'{{"{mark()}": "{mark()}'.encode()}
    yield request._replace(json={mark(): mark(), "metadata": mark()}), {}
    for field in request.json or ():
        for wrong in ({mark(): [mark()]}, [{"type": mark()}], mark()):
            yield request._replace(json={**request.json, field: wrong}), {}
    yield request._replace(method="PUT"), {"headers": {"X-API-Key": mark()}}


def refuse_all(api: Api, provider: IdentityProvider) -> list[str]:
    """Send what is refused. Return the keys and tokens that were."""
    for route in ROUTES:
        for request, rest in refused(route, make_world()):
            request.send(api, **rest)
    for path in (f"/{mark()}", f"/api/v1/{mark()}?{mark()}={mark()}", f"/v1/%00{mark()}"):
        assert api.get(path).status in (403, 404)
    claims = ({"exp": 1}, {"aud": mark()}, {"iss": mark()}, {"sub": [mark()]})
    forged = rsa.generate_private_key(65537, 2048)
    plains = [
        *no_longer_good(),
        *(signed(provider, {"sub": mark(), **claim}) for claim in claims),
        provider.token(mark(), headers={"kid": mark()}),
        provider.token(mark(), key=forged),
    ]
    for plain in plains:
        for caller in ({"X-API-Key": plain}, {"Authorization": f"Bearer {plain}"}):
            headers = {"X-API-Key": None} | caller
            assert api.get("/api/v1/conversations", headers=headers).status == 401
    for title in (mark(), mark()):
        body, again = {"project_id": PROJECT, "title": title}, {"Idempotency-Key": f"{MARK} reused"}
        answer = api.post("/api/v1/conversations", body, headers=again)
    assert answer.status == 422
    too_long = (mark() * 400_000)[:6_000_001].encode()
    assert api.post("/api/v1/conversations", body=too_long).status == 413
    return plains


def no_longer_good() -> list[str]:
    """Keys and tokens that were revoked or have expired."""
    revoked, row = api_keys.make()
    tokens = [user_tokens.make(USER, PROJECT, seconds, row.id).plain for seconds in (60, -60)]
    api_keys.revoke(row.id)
    expired, _ = api_keys.make(days=-1)
    database.close()
    return [revoked, expired, *tokens]


def send_malformed(port: int) -> None:
    for lines in MALFORMED:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
            connection.sendall(lines.replace(b"@", mark().encode()))
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while connection.recv(65536):
                    pass


def ask_failing_models(api: Api, model: ModelServer) -> list[Answer]:
    answers = []
    for fail in FAILING_MODELS.values():

        def script(reply: Reply, fail: Callable[[Reply, str], object] = fail) -> None:
            asked = model.asked[-1]
            fail(reply, f"{asked.headers['authorization']} {asked.body['messages']}")

        model.script = script
        for route in ROUTES:
            if name_of(route) in ("chat", "submit_to_chat", "create_response"):
                request = spoken(request_for(route, make_world()), USER)
                answers.append(request.send(api, headers={"X-User-Id": USER}))
    return answers


@pytest.mark.parametrize("kind", [DebuggedServer, ProductionServer])
def test_a_server_that_is_asked_everything_prints_no_secret_and_no_text(
    kind: type[Server],
    store: SqliteStore,
    model: ModelServer,
    identity_provider: IdentityProvider,
    tmp_path: Path,
):
    if kind is ProductionServer:
        pytest.importorskip("gunicorn")
    key, _ = api_keys.make(name=mark())
    database.close()
    models_key = mark()
    server = kind(
        f"sqlite:///{store.place}",
        log_level="DEBUG",
        chat_base_url=f"{model.url}/{mark()}",
        chat_api_key=models_key,
        oidc_issuer=identity_provider.url,
        oidc_audience=AUDIENCE,
        workers=1,
        pythonunbuffered=1,
    )
    server.output = tmp_path / "output"
    with server, open_api(server.port) as api:
        api.headers["X-API-Key"] = key
        plains = [key, *ask_all(api, identity_provider), *refuse_all(api, identity_provider)]
        send_malformed(server.port)
        failed = ask_failing_models(api, model)
    printed = server.output.read_text()
    assert [line for line in printed.splitlines() if MARK in line.lower()] == []
    assert SECRET not in printed
    assert_hidden(plains, printed)

    # Else nothing was looked for.
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith('{"time"')]
    assert {line["route"] for line in lines if "route" in line} == {r.uri_pattern for r in ROUTES}
    statuses = {line["status"] for line in lines if "status" in line}
    assert statuses >= {200, 201, 204, 400, 401, 403, 404, 409, 413, 415, 422, 502}
    assert [line["level"] for line in lines].count("WARNING") >= 2 * len(FAILING_MODELS)
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("confab.db*"))
    assert kept.count(MARK.encode()) > 100
    assert MARK in str(model.asked[0].body)
    for answer in failed:
        assert models_key.encode() not in answer.body
