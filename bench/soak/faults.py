"""What a soak does to the server: SIGKILL, a locked file, a full disk."""

import asyncio
import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.server import BIN, PRODUCTION_WORKERS, ROOT

from .client import Client, Cut
from .tally import Tally

LOCK_SECONDS = 15  # a write waits for 10 and is refused then
# A part of the log is written over in place, so the disk has to be full for a while to be noticed.
FULL_SECONDS = 30
LOOK_SECONDS = 0.02
START_SECONDS = 120  # the server may have to wait for a lock before it starts
LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


class Server:
    """The server with all its processes. It keeps its port when it starts again."""

    def __init__(self, kind: str, database: Path, log: Path, tally: Tally) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.database, self.tally = database, tally
        self._command = {
            "production": [str(BIN / "gunicorn"), "--config", "deploy/gunicorn.conf.py"],
            "local": [str(BIN / "chalice"), "local", "--no-autoreload", "--port", str(self.port)],
        }[kind]
        self._environment = {
            **os.environ,
            "DATABASE_URL": f"sqlite:///{database}",
            "LOG_LEVEL": "WARNING",
            "PORT": str(self.port),
            "WORKERS": str(PRODUCTION_WORKERS),
            "REQUIRE_API_KEY": "true",
        }
        self._log = log
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Start the processes, and wait for the first answer. On a full disk it is a 503."""
        self._spawn()
        deadline = time.monotonic() + START_SECONDS
        client = Client(self.port)
        while time.monotonic() < deadline:
            with suppress(Cut):
                await client.send("GET", "/health")
                client.close()
                return
            if self._process.poll() is not None:
                self.tally.ended += 1
                self._spawn()
            await asyncio.sleep(LOOK_SECONDS)
        raise RuntimeError(f"The server does not answer: see {self._log}")

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Send SIGKILL to all processes at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    async def kill_and_start(self) -> None:
        async with self._changing:
            with self.tally.disturbance("kill"):
                began = time.monotonic()
                self.kill()
                await self.start()
                self.tally.kills += 1
                self.tally.back_seconds.append(time.monotonic() - began)

    async def watch(self) -> None:
        """Start it again if it ends by itself."""
        while True:
            await asyncio.sleep(1)
            async with self._changing:
                if self._process.poll() is not None:
                    self.tally.ended += 1
                    with self.tally.disturbance("end"):
                        await self.start()

    def memory(self) -> tuple[int, int]:
        """RSS and PSS of all processes, in bytes."""
        resident = proportional = 0
        for process_id in _family(self._process.pid):
            with suppress(OSError):
                lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()[1:]
                values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
                resident, proportional = resident + values["Rss"], proportional + values["Pss"]
        return resident, proportional

    def size(self) -> int:
        """Bytes of the database and of its log."""
        files = (self.database, Path(f"{self.database}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def is_sound(self) -> bool:
        """Whether SQLite finds the file in order. The server must not run."""
        connection = sqlite3.connect(self.database)
        found = connection.execute("PRAGMA integrity_check").fetchall()
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        connection.close()
        return found == [("ok",)] and not broken


def _family(process_id: int) -> Iterator[int]:
    yield process_id
    with suppress(OSError):
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
        for child in children:
            yield from _family(int(child))


async def lock(database: Path, tally: Tally) -> None:
    """Let another program hold SQLite's lock on the file for LOCK_SECONDS."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCK, str(database), str(LOCK_SECONDS), stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        await holder.stdout.readline()
        with tally.disturbance("lock", is_told=True):
            await holder.wait()
    finally:
        with suppress(ProcessLookupError):
            holder.kill()
        await holder.wait()


class Disk:
    """A file system of its own, so that it can be full. Making it needs root."""

    def __init__(self, folder: Path, gigabytes: float) -> None:
        self.place = folder / "disk"
        self._image = folder / "disk.img"
        self._size = int(gigabytes * 2**30)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._size)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        _run("mount", "-o", "loop", str(self._image), str(self.place))
        try:
            yield self.place
        finally:
            # Lazily: a process that was killed may not have ended yet.
            _run("umount", "--lazy", str(self.place))
            self._image.unlink()

    async def fill(self, tally: Tally) -> None:
        """Leave no byte for FULL_SECONDS."""
        ballast = self.place / "ballast"
        with tally.disturbance("full disk", is_told=True):
            try:
                deadline = time.monotonic() + FULL_SECONDS
                while time.monotonic() < deadline:
                    _take_all(ballast)
                    await asyncio.sleep(1)
            finally:
                ballast.unlink()


def _take_all(ballast: Path) -> None:
    piece = 2**30
    with ballast.open("ab") as stream:
        while piece >= 4096:
            try:
                os.posix_fallocate(stream.fileno(), os.fstat(stream.fileno()).st_size, piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece //= 2


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
