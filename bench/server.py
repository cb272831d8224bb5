"""Servers under test: ours and the twin's, each started by its own command on a free port."""

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
PRODUCTION_WORKERS = 2  # processes of gunicorn, for ours and for the twin
READY_SECONDS = 15
STOP_SECONDS = 30


class Server(NamedTuple):
    name: str
    url: str
    process_id: int
    database: Path
    log: Path  # of standard output and error: one line for each request


def local(
    database: Path, checkout: Path = ROOT, **environment: str
) -> AbstractContextManager[Server]:
    """Ours as `chalice local`, or as an earlier checkout has it."""
    port = _free_port()
    command = ["chalice", "local", "--no-autoreload", "--stage", "dev", "--port", str(port)]
    variables = {**_ours(database), **environment}
    return _serving("ours", command, variables, port, database, "/health", checkout)


def production(database: Path) -> AbstractContextManager[Server]:
    """Ours as `make serve-production`, but no key is needed."""
    port = _free_port()
    command = ["gunicorn", "--config", "deploy/gunicorn.conf.py"]
    environment = {"PORT": str(port), "WORKERS": str(PRODUCTION_WORKERS)}
    environment |= {"REQUIRE_API_KEY": "false", **_ours(database)}
    return _serving("production", command, environment, port, database, "/health")


def twin(way: str, database: Path) -> AbstractContextManager[Server]:
    """The twin on one process of uvicorn."""
    port = _free_port()
    command = ["uvicorn", "bench.twin.app:app", "--loop", "uvloop", "--http", "httptools"]
    command += ["--port", str(port)]
    return _serving(way, command, _twin(way, database), port, database, "/openapi.json")


def production_twin(way: str, database: Path) -> AbstractContextManager[Server]:
    """The twin on gunicorn with uvicorn's workers, which take uvloop and httptools, too."""
    port = _free_port()
    command = ["gunicorn", "bench.twin.app:app", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "uvicorn_worker.UvicornWorker"]
    command += ["--workers", str(PRODUCTION_WORKERS), "--access-logfile", "-"]
    command += ["--no-control-socket"]
    return _serving(way, command, _twin(way, database), port, database, "/openapi.json")


def _ours(database: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:///{database}", "LOG_LEVEL": "INFO"}


def _twin(way: str, database: Path) -> dict[str, str]:
    return {"TWIN_DATABASE": str(database), "TWIN_WAY": way}


@contextmanager
def _serving(
    name: str,
    command: list[str],
    environment: dict[str, str],
    port: int,
    database: Path,
    ready_path: str,
    checkout: Path = ROOT,
) -> Iterator[Server]:
    log = database.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=checkout,
            env={**os.environ, **environment},
            stdout=stream,
            stderr=stream,
        )
    server = Server(name, f"http://127.0.0.1:{port}", process.pid, database, log)
    try:
        if not _is_ready(server.url + ready_path, process):
            raise RuntimeError(f"{name} did not start:\n{log.read_text()}")
        yield server
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=5):
                return True
        except OSError:
            if process.poll() is not None:
                return False
            time.sleep(0.1)
    return False
