"""Tests both servers over a real socket."""

import compileall
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

from handlers.http.headers import RESPONSE_HEADERS

from .support.clients import Answer, Api, assert_problem, curl, in_lower_case, open_api
from .support.processes import PATIENCE, ROOT, ProductionServer, Server
from .support.world import PROJECT

CONVERSATIONS = "/api/v1/conversations"
EXAMPLE = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture(scope="module", params=["chalice local", "gunicorn"])
def served_by(request: pytest.FixtureRequest) -> str:
    """A client must see no difference between the two servers."""
    return request.param


@pytest.fixture(scope="module")
def url(served_by: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('http')}/confab.db"


@pytest.fixture(scope="module")
def server(served_by: str, url: str, key: str) -> Iterator[Server]:
    if served_by == "gunicorn":
        pytest.importorskip("gunicorn")
        served = ProductionServer(url, require_api_key="false", workers=2)
    else:
        served = Server(url)
    with served as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    """A client without a key, because the `dev` stage needs none."""
    with open_api(server.port) as api:
        yield api


def test_the_documented_curl_lines_of_api_v1_work_as_printed(server: Server):
    made = curl(
        """curl -X POST http://localhost:8000/api/v1/conversations/ \\
  -H "Content-Type: application/json" \\
  -d '{
    "project_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "title": "Architecture planning session"
  }'""",
        server.port,
    )
    assert made.status == 201
    documented = ["id", "project_id", "title", "messages", "created_at", "updated_at"]
    assert list(made.json)[: len(documented)] == documented
    assert made.json["project_id"] == "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    assert made.json["title"] == "Architecture planning session"

    line = f"curl http://localhost:8000/api/v1/conversations/{EXAMPLE}"
    assert_problem(curl(line, server.port), 404, "conversation-not-found")
    assert curl(line.replace(EXAMPLE, made.json["id"]), server.port).json == made.json

    listed = curl(
        'curl "http://localhost:8000/api/v1/conversations/'
        '?project_id=7c9e6679-7425-40de-944b-e07fc1f90ae7&skip=0&limit=20"',
        server.port,
    )
    assert listed.status == 200
    assert made.json in listed.json["conversations"]
    assert (listed.json["skip"], listed.json["limit"]) == (0, 20)


# The documented requests to `/projects`, line by line. The test fills in their placeholders.
REQUESTS = [
    """GET /projects/{project_id}/conversations HTTP/1.1
Host: api.stack-ai.com
X-API-Key: YOUR_API_KEY
X-User-Id: text
Accept: */*
""",
    """GET /projects/{project_id}/sso/conversations HTTP/1.1
Host: api.stack-ai.com
X-API-Key: YOUR_API_KEY
X-User-Id: text
Accept: */*
""",
    """POST /projects/{project_id}/conversations/{conversation_id}/archive HTTP/1.1
Host: api.stack-ai.com
X-API-Key: YOUR_API_KEY
X-User-Id: text
Accept: */*
""",
    """POST /projects/{project_id}/conversations/{conversation_id}/rename HTTP/1.1
Host: api.stack-ai.com
X-API-Key: YOUR_API_KEY
X-User-Id: text
Content-Type: application/json
Accept: */*
Content-Length: 16

{"title":"text"}""",
    """DELETE /projects/{project_id}/conversations/{conversation_id} HTTP/1.1
Host: api.stack-ai.com
X-API-Key: YOUR_API_KEY
X-User-Id: text
Accept: */*
""",
]


def test_the_documented_requests_to_projects_work_as_printed(api: Api, server: Server, key: str):
    id = api.post(CONVERSATIONS, {"project_id": PROJECT}, headers={"X-User-Id": "text"}).json["id"]
    values = {"{project_id}": PROJECT, "{conversation_id}": id, "YOUR_API_KEY": key}
    answers = []
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        for request in REQUESTS:
            head, _, body = request.partition("\n\n")
            sent = head.strip().replace("\n", "\r\n") + "\r\n\r\n" + body
            for name, value in values.items():
                sent = sent.replace(name, value)
            connection.sendall(sent.encode())
            response = HTTPResponse(connection)
            response.begin()
            answers.append((response.status, json.loads(response.read())))
    assert [status for status, _ in answers] == [200] * 5
    listed, signed_on, archived, renamed, deleted = [body for _, body in answers]
    assert listed == signed_on
    assert [conversation["id"] for conversation in listed["data"]] == [id]
    assert archived == {**listed["data"][0], "is_archived": True}
    assert renamed == {**archived, "title": "text"}
    assert deleted is None


def test_a_connection_stays_open_whatever_is_sent_on_it(api: Api):
    path = f"{CONVERSATIONS}/{EXAMPLE}"
    assert api.get("/health").status == 200
    address = api.transport.connection.sock.getsockname()
    for answer, status in (
        (api.request("HEAD", path), 404),
        (api.request("HEAD", "/health"), 200),
        (api.request("OPTIONS", path), 200),
        (api.delete(path), 404),
        (api.post(CONVERSATIONS, body=b"{"), 400),
        (api.post(CONVERSATIONS, body=b" " * 7_000_000), 413),
        (api.get("/nowhere"), 403),
        (api.get("/health/"), 200),
    ):
        assert answer.status == status
    assert api.transport.connection.sock.getsockname() == address


GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "slug", "stays_open"),
    [
        (GET + b"X-User-Id: a\r\nX-User-Id: b\r\n\r\n", 400, "repeated-header", True),
        (GET + b"Host: elsewhere\r\n\r\n", 400, "malformed-request", False),
        (
            GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400, "malformed-request", False,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "malformed-request", False),
        (GET.replace(b"/health", b"//localhost/health") + b"\r\n", 403, "unknown-path", True),
    ],
)  # fmt: skip
def test_a_request_that_can_be_read_in_two_ways_is_refused(
    server: Server, sent: bytes, status: int, slug: str, stays_open: bool
):
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(sent)
        assert_problem(read_answer(connection), status, slug)
        if stays_open:
            connection.sendall(GET.replace(b"/health", b"http://localhost/health") + b"\r\n")
            assert read_answer(connection).status == 200
        else:
            assert connection.recv(1) == b""


def read_answer(connection: socket.socket) -> Answer:
    with closing(HTTPResponse(connection)) as response:
        response.begin()
        return Answer(response.status, in_lower_case(response.headers), response.read())


def test_an_unknown_path_is_a_problem_in_the_words_of_api_gateway(api: Api):
    answer = api.get("/api/v2/conversations")
    problem = assert_problem(answer, 403, "unknown-path")
    assert problem["message"] == "Missing Authentication Token"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_browser_may_call_from_anywhere(api: Api):
    allowed = api.request("OPTIONS", f"{CONVERSATIONS}/{EXAMPLE}").headers
    assert allowed["access-control-allow-origin"] == "*"
    assert set(allowed["access-control-allow-methods"].split(",")) == {
        "GET", "PATCH", "DELETE", "OPTIONS"
    }  # fmt: skip
    assert {
        "content-type", "idempotency-key", "if-match", "if-none-match", "last-event-id",
        "x-api-key", "x-user-id",
    } <= set(allowed["access-control-allow-headers"].lower().split(","))  # fmt: skip
    for answer in (
        api.get(CONVERSATIONS),
        api.get(f"{CONVERSATIONS}/x"),
        api.request("PUT", "/health"),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = set(answer.headers["access-control-expose-headers"].split(","))
        assert exposed == set(RESPONSE_HEADERS)


def test_text_survives_the_wire(api: Api, key: str):
    user = {"X-User-Id": "Zoë 👋".encode().decode("latin-1"), "X-API-Key": key}
    body = json.dumps({"project_id": PROJECT, "title": "Größe 👋"}, ensure_ascii=False)
    made = api.post(CONVERSATIONS, body=body.encode(), headers=user)
    assert made.json["title"] == "Größe 👋"
    page = api.get(f"/projects/{PROJECT}/conversations", headers=user).json
    assert [conversation["user_id"] for conversation in page["data"]] == ["Zoë 👋"]
    path = f"{CONVERSATIONS}/{made.json['id']}"
    assert api.get(path).status == 200
    assert_problem(api.get(path, headers={"X-User-Id": "Zoe"}), 404, "conversation-not-found")


def test_eight_concurrent_clients_each_read_what_they_wrote(server: Server):
    def create_and_read(number: int) -> bool:
        with open_api(server.port) as api:
            titles = [f"{number}-{n}" for n in range(20)]
            made = [api.post(CONVERSATIONS, {"project_id": PROJECT, "title": t}) for t in titles]
            read = [api.get(answer.headers["location"]).json["title"] for answer in made]
            return read == titles

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(create_and_read, range(8)))


@contextmanager
def bare_chalice_local(project: Path, home: Path) -> Iterator[tuple[int, Path]]:
    """Run `chalice local` with its reloader and the default database. Yield port and output."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment |= {"HOME": str(home), "XDG_DATA_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    output = home / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("chalice"), "local", "--port", str(port)],
            cwd=project, env=environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(output, "Serving on", 1)
        yield port, output
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # kills the reloader and its server
        process.wait()


def wait_for(output: Path, line: str, times: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while output.read_text().count(line) < times:
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


def test_two_hundred_writes_do_not_restart_the_server(tmp_path: Path):
    project = tmp_path / "project"
    for name in ("db", "handlers", "server", ".chalice"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", project)
    # Chalice restarts when it sees new bytecode, so compile before the first start.
    assert compileall.compile_dir(project, quiet=1)
    with bare_chalice_local(project, tmp_path) as (port, output):
        with open_api(port) as api:
            for _ in range(200):
                assert api.post(CONVERSATIONS, {"project_id": PROJECT}).status == 201
                time.sleep(0.005)  # the reloader looks once a second, so the writes last one
        assert output.read_text().count("Serving on") == 1
        # The reloader does notice a file that changes where it looks.
        (project / "app.py").touch()
        wait_for(output, "Serving on", 2)
