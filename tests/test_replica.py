"""Tests that replicas built from `/changes` alone equal the source, whatever happens meanwhile."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self

import httpx
import pytest

from db import conversations
from db.engine.connect import Store
from db.engine.database import database, transaction
from db.scope import EVERYTHING

from .support.processes import PATIENCE, Server, processes
from .support.world import PROJECT

SERVERS, WRITERS, READERS = 2, 4, 3
CHANGES = 5_000  # by all writers together
KILLS = 4


class Unreliable:
    """A client of servers that are killed now and then. It repeats what was not answered."""

    def __init__(self, urls: list[str], seed: int) -> None:
        self._urls, self._chance = urls, random.Random(seed)
        self._client = httpx.Client(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        while True:
            url = self._chance.choice(self._urls)
            try:
                answer = self._client.request(method, url + path, **rest)
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the servers are gone for good"
                time.sleep(0.02)
            else:
                assert answer.status_code < 500, answer.text
                return answer


def write(urls: list[str], seed: int, changes: int) -> int:
    """Change conversations of one's own at random, in a process of one's own."""
    with Unreliable(urls, seed) as client:
        change_at_random(client, seed, changes)
    return changes


def change_at_random(client: Unreliable, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    live: list[str] = []
    gone: list[str] = []
    for number in range(changes):
        kind = chance.choice(
            ["create"] * 2
            + ["append"] * 4
            + ["edit", "rename", "tag", "delete", "restore", "purge"]
        )
        if kind == "create" or not live:
            body = {"project_id": PROJECT, "title": f"{seed} {number}"}
            live.append(client.send("POST", "/api/v1/conversations", json=body).json()["id"])
            continue
        id = chance.choice(live)
        path = f"/api/v1/conversations/{id}"
        if kind == "append":
            body = {"role": "user", "content": "Hello", "client_id": str(number)}
            client.send("POST", f"{path}/messages", json=body)
        elif kind == "edit":
            found = client.send("GET", f"{path}/messages", params={"limit": 1}).json()["messages"]
            for message in found:
                body = {"content": f"Edited {number}"}
                client.send("PATCH", f"{path}/messages/{message['id']}", json=body)
        elif kind == "rename":
            client.send("PATCH", path, json={"title": f"Renamed {number}"})
        elif kind == "tag":
            client.send("PATCH", path, json={"tags": [f"tag {number % 5}"]})
        elif kind == "delete":
            client.send("DELETE", path)
            live.remove(id)
            gone.append(id)
        elif gone and kind == "restore":
            id = gone.pop(chance.randrange(len(gone)))
            client.send("POST", f"/api/v1/trash/{id}/restore")
            live.append(id)
        elif gone and kind == "purge":
            client.send("DELETE", f"/api/v1/trash/{gone.pop()}")


class Replica:
    """A reader of the feed, and all that it knows."""

    def __init__(self, urls: list[str], seed: int) -> None:
        self._urls, self._seed = urls, seed
        self._query: dict[str, Any] = {"project_id": PROJECT, "limit": 1 + 20 * seed}
        self.rows: dict[str, Any] = {}

    def look(self, client: Unreliable, wait: float) -> bool:
        """Read a page. Return whether there was something."""
        page = client.send("GET", "/api/v1/changes", params=self._query | {"wait": wait})
        found = page.json()
        self._query["after"] = found["cursor"]
        for change in found["changes"]:
            if change["type"] == "deleted":
                self.rows.pop(change["id"], None)
            else:
                self.rows[change["conversation"]["id"]] = change["conversation"]
        return bool(found["changes"])

    def follow(self, ended: threading.Event) -> dict[str, Any]:
        with Unreliable(self._urls, self._seed) as client:
            while not ended.is_set():
                self.look(client, wait=1)
            while self.look(client, wait=0):
                pass
        return self.rows


def source(client: Unreliable) -> dict[str, Any]:
    """All conversations, page by page, as the list has them."""
    path, found = "/api/v1/conversations", {}
    query: dict[str, Any] | None = {"project_id": PROJECT, "include_messages": "false"}
    while path:
        answer = client.send("GET", path, params=query)
        found |= {row["id"]: row for row in answer.json()["conversations"]}
        path, query = answer.links.get("next", {}).get("url", ""), None
    return found


def hold_transactions_open(ended: threading.Event) -> None:
    """A writer that changes something at once, and commits half a second later."""
    id = conversations.start(EVERYTHING, PROJECT).id

    @transaction
    def hold(number: int) -> None:
        conversations.change(EVERYTHING, id, title=f"Held {number}")
        ended.wait(0.5)

    number = 0
    while not ended.is_set():
        hold(number)
        number += 1
    database.close()


@pytest.fixture
def servers(either_store: Store, postgres_url: str) -> Iterator[list[Server]]:
    url = f"sqlite:///{either_store.place}" if either_store.engine == "sqlite" else postgres_url
    either_store.close_all()
    with ExitStack() as stack:
        made = [Server(url) for _ in range(SERVERS)]
        for server in made:  # one after the other: the first one migrates a file
            stack.enter_context(server)
        yield made


@pytest.mark.system
def test_replicas_equal_their_source(servers: list[Server], either_store: Store):
    urls = [server.url for server in servers]
    ended = threading.Event()
    with processes(WRITERS) as pool, ThreadPoolExecutor(READERS + 1) as threads:
        replicas = [threads.submit(Replica(urls, n).follow, ended) for n in range(READERS)]
        holder = None
        if either_store.engine != "sqlite":
            holder = threads.submit(hold_transactions_open, ended)
        try:
            writers = [pool.submit(write, urls, n, CHANGES // WRITERS) for n in range(WRITERS)]
            for number in range(KILLS):
                time.sleep(1)
                servers[number % SERVERS].kill()
                servers[number % SERVERS].start().wait()
            assert sum(writer.result(PATIENCE * 4) for writer in writers) == CHANGES
        finally:
            ended.set()
        if holder:
            holder.result(PATIENCE)
        with Unreliable(urls, 0) as client:
            wanted = source(client)
        assert len(wanted) > 100
        for replica in replicas:
            assert replica.result(PATIENCE) == wanted
