"""Tests that acknowledged writes survive a server that is killed many times."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from db import messages
from db.engine.sqlite import SqliteStore
from db.scope import EVERYTHING

from .support.followers import stored
from .support.processes import PATIENCE, Server
from .support.readers import Reader

WRITERS = 5  # of messages, and as many again of streams
WRITES = 200  # by each writer
KILLS = 30


@pytest.fixture
def server(store: SqliteStore) -> Iterator[Server]:
    store.close_all()  # the server recovers the file only if nobody else has it open
    with Server(f"sqlite:///{store.place}") as server:
        yield server
        store.close_all()


class Acknowledged:
    """Repeats requests until they are answered, and counts the answers."""

    def __init__(self, server: Server, conversation_id: str) -> None:
        self.url = f"{server.url}/api/v1/conversations/{conversation_id}"
        self.count = threading.Semaphore(0)

    def append(self, name: str) -> list[str]:
        """Append messages and return their ids."""
        with httpx.Client() as client:
            return [
                self._post(client, "/messages", {"role": "user", "content": f"{name} {n}"})["id"]
                for n in range(WRITES)
            ]

    def stream(self, name: str) -> str:
        """Stream one message and return its id."""
        with httpx.Client() as client:
            draft = {"role": "assistant", "content": f"{name}:", "status": "in_progress"}
            id, length = self._post(client, "/messages", draft)["id"], len(name) + 1
            for number in range(1, WRITES):
                delta, is_last = f" {number}🦊", number == WRITES - 1
                piece = {"offset": length, "delta": delta}
                status = {"status": "completed"} if is_last else {}
                length = self._post(client, f"/messages/{id}/append", piece | status)["length"]
            return str(id)

    def _post(self, client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
        # A piece is safe to repeat because of its offset. A message needs a key.
        headers = {} if path.endswith("/append") else {"Idempotency-Key": body["content"]}
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = client.post(self.url + path, json=body, headers=headers)
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the server is gone for good"
                time.sleep(0.02)
            else:
                assert answer.is_success, answer.text
                self.count.release()
                return dict(answer.json())


def follow(url: str, ended: threading.Event) -> Reader:
    """Follow the events to the end, and reconnect when a connection is cut."""
    reader = Reader()
    deadline = time.monotonic() + PATIENCE
    with httpx.Client() as client:
        while True:
            nothing_follows, body = ended.is_set(), b""
            headers = {"Last-Event-ID": str(reader.last_event_id)}
            try:
                with client.stream("GET", url, params={"wait": 1}, headers=headers) as answer:
                    for chunk in answer.iter_bytes():
                        body += chunk
                deadline = time.monotonic() + PATIENCE
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the server is gone for good"
                nothing_follows = False
                time.sleep(0.02)
            if not reader.receive(body) and nothing_follows:
                return reader


def test_what_was_acknowledged_survives_sigkill(
    server: Server, store: SqliteStore, conversation_id: str
):
    store.close_all()
    requests, ended = Acknowledged(server, conversation_id), threading.Event()
    total = 2 * WRITERS * WRITES
    names = [f"writer-{number}" for number in range(WRITERS)]
    with ThreadPoolExecutor(2 * WRITERS + 1) as pool:
        reading = pool.submit(follow, f"{requests.url}/events", ended)
        appending = [pool.submit(requests.append, name) for name in names]
        streaming = [pool.submit(requests.stream, name) for name in names]
        try:
            done = 0
            for moment in sorted(random.sample(range(1, total - 2 * WRITERS), KILLS)):
                for _ in range(moment - done):
                    assert requests.count.acquire(timeout=PATIENCE)
                done = moment
                time.sleep(random.random() / 100)
                server.kill()
                server.start().wait()
            appended = [future.result() for future in appending]
            streamed = [future.result() for future in streaming]
        finally:
            ended.set()
        reader = reading.result()
    server.kill()

    assert store.execute_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
    rows = messages.page_for(EVERYTHING, conversation_id, limit=2 * total).rows
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    contents = {row.id: row.content for row in rows}
    assert len(contents) == WRITERS * (WRITES + 1)
    for name, ids, id in zip(names, appended, streamed, strict=True):
        assert ids == sorted(ids)
        assert [contents[id] for id in ids] == [f"{name} {number}" for number in range(WRITES)]
        assert contents[id] == f"{name}:" + "".join(f" {n}🦊" for n in range(1, WRITES))
    assert reader.texts == stored(conversation_id)
