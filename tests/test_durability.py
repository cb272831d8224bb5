"""Tests with strace that the server syncs a write before it sends the answer."""

import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPResponse
from pathlib import Path

import pytest

from .support.processes import PATIENCE, Server
from .support.world import PROJECT

pytestmark = pytest.mark.system

BODY = b'{"project_id": "%s"}' % PROJECT.encode()
CREATE = b"POST /api/v1/conversations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
BATCHES = [1, 2, 3, 5, 8, 13, 21, 34, 50]

# It matches lines such as: 42 recvfrom(9<socket:[17]>, "POST /api…", 262144, 0, NULL, NULL) = 98
CALL = re.compile(
    r"(?:\[pid +)?(?P<thread>\d+)\]? +(?P<name>\w+)\((?P<file>\d+<[^>]*>)(?P<rest>.*)"
)


class TracedServer(Server):
    """A server with strace, which writes its system calls into a file."""

    def __init__(self, database_url: str, trace: Path) -> None:
        super().__init__(database_url)
        self._trace = trace

    def _command(self) -> list[str | Path]:
        calls = "trace=recvfrom,sendto,fsync,fdatasync,pwrite64"
        flags = ["-f", "-y", "-s", "24", "-e", calls, "-o", self._trace]
        strace = shutil.which("strace")
        assert strace, "strace is needed, which Debian has: apt-get install strace"
        # With -D the server is our child, and the tracer ends with it.
        return [strace, "-D", *flags, *super()._command()]

    def calls(self) -> list[str]:
        """Kill the server, and wait until the tracer has written everything."""
        self.kill()
        deadline = time.monotonic() + PATIENCE
        while "+++ killed by SIGKILL +++" not in (lines := self._trace.read_text(errors="replace")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return lines.splitlines()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TracedServer]:
    with TracedServer(f"sqlite:///{tmp_path}/traced.db", tmp_path / "trace") as server:
        yield server


def create_together(server: Server, count: int) -> None:
    """Send `count` requests at the same moment, each on its own connection."""
    with ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        clients = [
            stack.enter_context(closing(socket.create_connection(address, timeout=30)))
            for _ in range(count)
        ]
        for client in clients:
            client.sendall(CREATE + BODY)
        for client in clients:
            response = HTTPResponse(client)
            response.begin()
            assert response.status == 201


def test_no_answer_to_a_write_leaves_before_the_sync_that_holds_it(
    server: TracedServer,
):
    for count in BATCHES:
        create_together(server, count)
    unsynced: set[str] = set()  # connections whose request was received after the last sync
    received = answered = syncs = 0
    for line in server.calls():
        found = CALL.match(line)
        if found is None:
            continue
        name, file, rest = found["name"], found["file"], found["rest"]
        if name == "recvfrom" and '"POST' in rest:
            unsynced.add(file)
            received += 1
        elif name in ("fsync", "fdatasync") and "traced.db-wal" in file:
            assert rest.endswith("= 0") or "unfinished" in rest, line
            unsynced.clear()
            syncs += 1
        elif name == "sendto" and '"HTTP/1.1 201' in rest:
            assert file not in unsynced, f"answered before its sync: {line}"
            answered += 1
    assert received == answered == sum(BATCHES)
    assert 0 < syncs < sum(BATCHES) / 2, "requests did not share their syncs"
