"""What it costs to know who calls: the code before users' tokens and this code, in turns.

Before, there were keys alone. Now there are users' tokens, a provider's tokens, rate limits,
counters of requests, and spans.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import environ
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.packages import make_package

from . import cold, server, wrk
from .data import CONVERSATIONS, CREATE_PROJECT, TEXTS
from .earlier import checkout
from .options import Options, Section, Step
from .server import ROOT, Server
from .timing import Compared
from .wrk import EIGHT, Operation

COMMIT = "a514624"  # the last one without users' tokens
FILLED = 200  # conversations of 20 messages
RUN_SECONDS = 4
USER, AUDIENCE = "alice", "bench"
LIST = f"{CONVERSATIONS}?limit=20&include_messages=false"
OPERATIONS = GET, OF_LIST, CREATE = "get, 20 messages", "list of 20", "create"
EARLIER, KEY = "a key, earlier code", "a key"
TOKEN, PROVIDER = "a user's token", "a provider's token"
LIMIT, SPANS = "a key and a RATE_LIMIT", "a key and spans"


class Way(NamedTuple):
    """A way to call: a server, the headers that say who calls, and the conversations to read."""

    name: str
    server: Server
    headers: dict[str, str]
    ids: list[str]


def steps(options: Options) -> int:
    return 2 + options.rounds


def measure(options: Options, step: Step) -> list[Compared]:
    earlier = checkout(options.cache, COMMIT)
    with ExitStack() as running:
        ways = _ways(options.folder, earlier, running)
        step("servers")
        rates = [_rates(ways, options, step) for _ in range(options.rounds)]
    found = [
        Compared(
            f"{operation}: {way.name}",
            [(rate[operation, way.name], rate[operation, EARLIER]) for rate in rates],
        )
        for operation in OPERATIONS
        for way in ways[1:]
    ]
    found += _cold(options, earlier)
    step("cold starts")
    return found


def _ways(folder: Path, earlier: Path, running: ExitStack) -> list[Way]:
    private, issuer = running.enter_context(_provider())
    sink = running.enter_context(_answering({}))
    sign_on = {"OIDC_ISSUER": issuer, "OIDC_AUDIENCE": AUDIENCE}

    def start(name: str, root: Path = ROOT, **environment: str) -> tuple[Server, str]:
        database = folder / f"{name}.db"
        key = _create_key(root, database)
        return running.enter_context(server.local(database, root, **environment)), key

    before, before_key = start("earlier", earlier)
    ours, key = start("ours", **sign_on)
    limited, limited_key = start("limited", RATE_LIMIT="1000000")
    traced, traced_key = start("traced", OTEL_EXPORTER_OTLP_ENDPOINT=sink)
    asked = {"user_id": USER, "expires_in": 86_400}
    token = _ask(ours, "POST", "/api/v1/tokens", asked, key)["token"]
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": USER, "exp": int(time.time()) + 86_400}
    signed = jwt.encode(claims, private, "RS256", {"kid": "bench"})

    def by_key(name: str, to: Server, key: str) -> Way:
        return Way(name, to, {"X-API-Key": key, "X-User-Id": USER}, _fill(to, key))

    with_key = by_key(KEY, ours, key)
    return [
        by_key(EARLIER, before, before_key),
        with_key,
        Way(TOKEN, ours, {"Authorization": f"Bearer {token}"}, with_key.ids),
        Way(PROVIDER, ours, {"Authorization": f"Bearer {signed}"}, with_key.ids),
        by_key(LIMIT, limited, limited_key),
        by_key(SPANS, traced, traced_key),
    ]


def _rates(ways: list[Way], options: Options, step: Step) -> dict[tuple[str, str], float]:
    """Requests a second by operation and way."""
    found = {}
    conversation = {"project_id": CREATE_PROJECT, "title": "Architecture planning session"}
    for way in ways:
        paths = [f"{CONVERSATIONS}/{id}" for id in way.ids]
        for operation in (
            Operation(GET, "GET", paths),
            Operation(OF_LIST, "GET", [LIST]),
            Operation(CREATE, "POST", [CONVERSATIONS], conversation),
        ):
            result = wrk.send(
                way.server, operation, EIGHT, options.folder, RUN_SECONDS, way.headers
            )
            found[operation.name, way.name] = result.rate
    step("requests")
    return found


def _cold(options: Options, earlier: Path) -> list[Compared]:
    """Milliseconds of a cold start in AWS's runtime client, and the zip's size."""
    targets = []
    for name, root in (("ours", ROOT), ("earlier", earlier)):
        package = make_package("prod", options.folder / f"package-{name}", root)
        url = f"sqlite:///{options.folder}/cold-{name}.db"
        settings = {"DATABASE_URL": url, "REQUIRE_API_KEY": "false"}
        targets.append(cold.Target(name, package.zip, package.task, "app", "app.app", settings))
    for target in targets:
        cold.start(target)  # the file is made and migrated
    starts = [[cold.start(target) for target in targets] for _ in range(3 * options.rounds)]
    return [
        Compared("cold start, ms", [(1000 * a.answered, 1000 * b.answered) for a, b in starts]),
        Compared("import, ms", [(1000 * a.imported, 1000 * b.imported) for a, b in starts]),
        Compared("memory after it, MB", [(a.peak, b.peak) for a, b in starts]),
        Compared("zip, MB", [tuple(t.zip.stat().st_size / 1e6 for t in targets)]),
    ]


def _create_key(root: Path, database: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "db", "create-key"],
        cwd=root,
        env={**environ, "DATABASE_URL": f"sqlite:///{database}", "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def _fill(to: Server, key: str) -> list[str]:
    """Make the user's conversations, and return their ids."""
    messages = [{"role": ("user", "assistant")[at % 2], "content": TEXTS[at]} for at in range(20)]
    body = {"project_id": CREATE_PROJECT, "title": "Planning", "messages": messages}
    return [_ask(to, "POST", CONVERSATIONS, body, key)["id"] for _ in range(FILLED)]


def _ask(to: Server, method: str, path: str, body: Any, key: str) -> Any:
    headers = {"X-API-Key": key, "X-User-Id": USER, "Content-Type": "application/json"}
    request = Request(to.url + path, json.dumps(body).encode(), headers, method=method)
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def _provider() -> Iterator[tuple[rsa.RSAPrivateKey, str]]:
    """A provider's private key, and the URL that its public one is found at."""
    private = rsa.generate_private_key(65537, 2048)
    public = {**json.loads(RSAAlgorithm.to_jwk(private.public_key())), "kid": "bench"}
    answers: dict[str, Any] = {"/jwks": {"keys": [public]}}
    with _answering(answers) as url:
        told = {"issuer": url, "jwks_uri": f"{url}/jwks"}
        answers["/.well-known/openid-configuration"] = told
        yield private, url


@contextmanager
def _answering(answers: dict[str, Any]) -> Iterator[str]:
    """The URL of a server that answers a GET with what is there, and takes every POST."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(json.dumps(answers[self.path]).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def section(found: list[Compared]) -> Section:
    return Section(
        "Who calls",
        f"This code against that of commit {COMMIT}, which had keys alone: requests a second on 8 "
        "connections of `chalice local`, in turns, and the cold start in AWS's runtime client. All "
        "callers are one user of a file with 200 conversations and what the rounds create.",
        ["measure", "ours", "earlier code", "ratio"],
        [each.row(digits=1) for each in found],
        {f"callers: {each.name}": each.ratio for each in found},
    )
