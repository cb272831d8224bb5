"""Real processes: servers that a test can kill, and writers that share a database file."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Self

from db import messages
from db.messages import Draft
from db.scope import EVERYTHING
from db.settings import Settings
from db.startup import open_store

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 30  # seconds for a process to start on a busy machine


class Server:
    """`chalice local` on a free port. It keeps the port when it starts again."""

    output: Path | None = None  # a file that takes all that the process prints

    def __init__(self, database_url: str, **settings: object) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        given = {
            "database_url": database_url,
            "log_level": "WARNING",
            "port": self.port,
            **settings,
        }
        names = {name.upper(): str(value) for name, value in given.items()}
        self._environment = {**os.environ, **names}

    def start(self) -> Self:
        """Start the process. `wait` waits until it accepts connections."""
        with open(self.output or os.devnull, "ab") as output:
            self._process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output if self.output else None,
            )
        return self

    def _command(self) -> list[str | Path]:
        return [BIN / "chalice", "local", "--no-autoreload", "--port", str(self.port)]

    def wait(self) -> Self:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, "the server did not start"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.02)
            else:
                return self

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does, and wait for the process to end."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE)

    def kill(self) -> None:
        """Send SIGKILL, so that the process cannot finish anything."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self.start().wait()

    def __exit__(self, *_: object) -> None:
        self.kill()


class ProductionServer(Server):
    """gunicorn, as `make serve-production` starts it."""

    def _command(self) -> list[str | Path]:
        return [BIN / "gunicorn", "--config", "deploy/gunicorn.conf.py"]

    def terminate(self) -> None:
        """Send SIGTERM. The server first answers the requests that it has begun."""
        self._process.terminate()

    def exit_code(self) -> int:
        """Wait for the process to end. A graceful end may take 30 seconds."""
        return self._process.wait(2 * PATIENCE)


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes. No job begins before all processes have started."""
    context = get_context("spawn")
    gate = context.Barrier(count, timeout=PATIENCE)
    with ProcessPoolExecutor(count, context, initializer=gate.wait) as pool:
        yield pool


def append_messages(database_url: str, conversation_id: str, writer: str, count: int) -> list[str]:
    """Append messages one by one and return their ids. It can run in its own process."""
    store = open_store(Settings(database_url=database_url))
    ids = []
    for number in range(count):
        (row,) = messages.append(EVERYTHING, conversation_id, [Draft("user", f"{writer} {number}")])
        ids.append(row.id)
    store.close_all()
    return ids
