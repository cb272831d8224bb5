"""Tests that Litestream restores a lost database from its replica."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL
from threading import Event
from typing import Any, Self

import pytest

from db import conversations, messages
from db.messages import Draft
from db.scope import EVERYTHING, Scope
from db.settings import Settings
from db.startup import open_store

from .support.clients import Api, OverHttp
from .support.processes import BIN, PATIENCE, ROOT, ProductionServer
from .support.world import PROJECT

pytest.importorskip("gunicorn")
LITESTREAM = BIN / "litestream"

BUSY = "SQLITE_BUSY"
CONVERSATIONS = "/api/v1/conversations"


class Litestream:
    """Litestream with our configuration and a folder as its replica."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "confab.db"
        self.url = f"sqlite:///{self.file}"
        self.log = folder / "log"
        self._socket = Path(f"{self.file}-litestream.sock")
        self._environment = {
            **os.environ,
            "DATABASE_FILE": str(self.file),
            "REPLICA_URL": f"file://{folder}/replica",
        }

    def __enter__(self) -> Self:
        self._socket.unlink(missing_ok=True)
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command("replicate"), env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._socket.exists():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def sync(self) -> None:
        """Sync at once. On a slow disk, busy writers can keep the lock from Litestream for longer
        than the second that it waits: then it tries again.
        """
        command = [LITESTREAM, "sync", "-wait", "-socket", self._socket, self.file]
        deadline = time.monotonic() + PATIENCE
        while (
            done := subprocess.run(command, check=False, capture_output=True, text=True)
        ).returncode:
            assert BUSY in done.stderr, done.stderr
            assert time.monotonic() < deadline, self.log.read_text()

    def errors(self) -> list[str]:
        """What went wrong, but for a lock that was taken."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if "level=ERR" in line and BUSY not in line]

    def lose(self) -> None:
        """Delete all files of the database, as if the disk were lost."""
        for path in self.file.parent.glob("*confab.db*"):
            subprocess.run(["rm", "-r", path], check=True)

    def restore(self) -> None:
        subprocess.run(
            [*self._command("restore"), "-integrity-check", "full", self.file],
            env=self._environment,
            check=True,
        )

    def _command(self, name: str) -> list[str | Path]:
        return [LITESTREAM, name, "-config", ROOT / "deploy" / "litestream.yml"]


@pytest.fixture
def litestream(tmp_path_factory: pytest.TempPathFactory) -> Litestream:
    return Litestream(tmp_path_factory.mktemp("ls"))  # a socket's path has 107 bytes at most


class Writer:
    """A client that appends to a conversation until it is told to stop."""

    def __init__(self, server: ProductionServer, name: str) -> None:
        self._transport = OverHttp(server.port)
        self._name = name
        self.acknowledged: list[str] = []

    def write(self, stop: Event) -> None:
        with closing(self._transport.connection):
            api = Api(self._transport)
            made = api.post(CONVERSATIONS, {"project_id": PROJECT, "title": self._name})
            self.id = made.json["id"]
            while not stop.is_set():
                number = len(self.acknowledged)
                body = {"role": "user", "content": f"{number} " + "x" * 4_000}
                answer = api.post(f"{CONVERSATIONS}/{self.id}/messages", body)
                assert answer.status == 201, answer
                self.acknowledged.append(answer.json["id"])


def stored(url: str, conversation_id: str) -> list[str]:
    store = open_store(Settings(database_url=url))
    rows = messages.page_for(EVERYTHING, conversation_id, limit=100_000).rows
    store.close_all()
    return [row.id for row in rows]


def wait_until(writers: list[Writer], count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while min(len(writer.acknowledged) for writer in writers) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_messages_acknowledged_before_the_last_sync_survive_the_loss_of_the_file(
    litestream: Litestream,
):
    stop = Event()
    with (
        litestream,
        ProductionServer(litestream.url, require_api_key="false") as server,
        ThreadPoolExecutor(4) as pool,
    ):
        writers = [Writer(server, f"writer {number}") for number in range(4)]
        writing = [pool.submit(writer.write, stop) for writer in writers]
        try:
            wait_until(writers, 100)
            acknowledged = {writer.id: list(writer.acknowledged) for writer in writers}
            litestream.sync()
            wait_until(writers, 120)
        finally:
            stop.set()  # the pool waits for them
        for job in writing:
            job.result()

    litestream.lose()
    litestream.restore()
    for conversation_id, ids in acknowledged.items():
        assert stored(litestream.url, conversation_id)[: len(ids)] == ids


def test_litestream_catches_up_on_what_was_written_while_it_was_down(litestream: Litestream):
    store = open_store(Settings(database_url=litestream.url))
    conversation_id = conversations.start(EVERYTHING, PROJECT).id

    def append(count: int) -> list[str]:
        """Append one by one. 1,000 messages are enough for SQLite to restart its WAL."""
        return [
            messages.append(EVERYTHING, conversation_id, [Draft("user", "x" * 10_000)])[0].id
            for _ in range(count)
        ]

    with litestream:
        ids = append(3)
        litestream.sync()
    ids += append(1_000)
    with litestream:
        litestream.sync()
    store.close_all()
    litestream.lose()
    litestream.restore()
    assert stored(litestream.url, conversation_id) == ids


@pytest.mark.system
def test_an_erasure_beside_litestream_says_that_it_has_to_be_stopped(litestream: Litestream):
    store = open_store(Settings(database_url=litestream.url))
    conversation_id = conversations.start(Scope(None, "alice"), PROJECT).id
    messages.append(EVERYTHING, conversation_id, [Draft("user", "a needle")])
    command = [sys.executable, "-m", "db", "erase", "--user", "alice"]
    environment = {**os.environ, "DATABASE_URL": litestream.url}

    def erase() -> dict[str, Any]:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=True, stdin=DEVNULL
        )
        receipt: dict[str, Any] = json.loads(ended.stdout)
        assert ended.returncode == (0 if receipt["is_overwritten"] else 1)
        return receipt

    with litestream:
        litestream.sync()
        time.sleep(3)  # from its second look on it reads the log all the time
        beside = erase()
    store.close_all()
    assert beside["conversations"] == 1
    assert not beside["is_overwritten"] or b"a needle" not in litestream.file.read_bytes()
    assert erase()["is_overwritten"]
    assert b"a needle" not in litestream.file.read_bytes()
