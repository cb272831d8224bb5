"""Servers under test: ours and the twin's, each a process of its own on a free port."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


class Server(NamedTuple):
    name: str
    url: str


def ours(database: Path) -> AbstractContextManager[Server]:
    command = [str(BIN / "chalice"), "local", "--no-autoreload", "--stage", "dev"]
    environment = {"DATABASE_URL": f"sqlite:///{database}", "LOG_LEVEL": "INFO"}
    return _serving("ours", command, environment, "/health", database.with_suffix(".log"))


def twin(way: str, database: Path) -> AbstractContextManager[Server]:
    command = [
        str(BIN / "uvicorn"),
        "bench.twin.app:app",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    environment = {"TWIN_DATABASE": str(database), "TWIN_WAY": way}
    return _serving(way, command, environment, "/openapi.json", database.with_suffix(".log"))


@contextmanager
def _serving(
    name: str, command: list[str], environment: dict[str, str], ready: str, log: Path
) -> Iterator[Server]:
    """The server, which writes a line for each request into `log`."""
    port = _free_port()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=stream,
            stderr=stream,
        )
    server = Server(name, f"http://127.0.0.1:{port}")
    try:
        if not _is_ready(server.url + ready, process):
            raise RuntimeError(f"{name} did not start:\n{log.read_text()}")
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    for _ in range(100):
        try:
            with urlopen(url, timeout=5):
                return True
        except OSError:
            if process.poll() is not None:
                return False
            time.sleep(0.1)
    return False
