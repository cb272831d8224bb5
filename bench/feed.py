"""The feed: how soon a reader that waits at `/changes` has what was changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from typing import NamedTuple

from db import conversations
from db.scope import EVERYTHING

from . import server
from .data import CONVERSATIONS, Batch, fill, ids, project, use
from .options import Options, Section, Step
from .soak.client import Client

WAIT_SECONDS = 20
PAUSE_SECONDS = 0.05
READERS = (1, 200)
WRITERS = BY_CLIENT, BY_PROCESS = "by a client", "by another process"
SERVERS = ("local", "production")


class Told(NamedTuple):
    """After how many milliseconds a reader has a new title."""

    server: str
    writer: str
    readers: int
    p50: float
    p99: float


def steps(options: Options) -> int:
    return len(SERVERS) * len(WRITERS) * len(READERS)


def measure(options: Options, step: Step) -> list[Told]:
    path = options.folder / "feed.db"
    fill(path, Batch([project(1)], [None], 1000, 2))
    id, found = ids(path, project(1))[0], []
    for name in SERVERS:
        with getattr(server, name)(path) as running:
            port = int(running.url.rpartition(":")[2])
            for writer in WRITERS:
                rename = _by_client(port, id) if writer == BY_CLIENT else _by_process(path, id)
                for readers in READERS:
                    times = asyncio.run(_follow(port, readers, rename, options.scaled(100)))
                    found.append(Told(name, writer, readers, median(times), _p99(times)))
                    step(f"{name}, {writer}, {readers}")
    return found


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


def _by_client(port: int, id: str) -> Callable[[str], Awaitable[object]]:
    async def rename(title: str) -> None:
        client = Client(port)  # a new one, so that each worker gets some
        await client.send("PATCH", f"{CONVERSATIONS}/{id}", {"title": title})
        client.close()

    return rename


def _by_process(path: object, id: str) -> Callable[[str], Awaitable[object]]:
    """This process is another one than the server's."""
    use(path)  # type: ignore[arg-type]

    async def rename(title: str) -> None:
        await asyncio.to_thread(conversations.change, EVERYTHING, id, title=title)

    return rename


async def _follow(
    port: int, readers: int, rename: Callable[[str], Awaitable[object]], count: int
) -> list[float]:
    """The milliseconds from the moment before a rename until each reader has it."""
    times: list[float] = []

    async def read() -> None:
        client, path = Client(port), f"/api/v1/changes?project_id={project(1)}"
        page = (await client.send("GET", f"{path}&limit=1000")).json()
        while True:
            query = f"{path}&after={page['cursor']}&wait={WAIT_SECONDS}"
            page = (await client.send("GET", query)).json()
            now = time.time()
            for change in page["changes"]:
                times.append((now - float(change["conversation"]["title"])) * 1000)

    tasks = [asyncio.create_task(read()) for _ in range(readers)]
    await asyncio.sleep(2)
    for _ in range(count):
        await rename(str(time.time()))
        await asyncio.sleep(PAUSE_SECONDS)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    return times


def section(found: list[Told]) -> Section:
    return Section(
        "Feed: told of a change",
        "Milliseconds from a rename until a reader that waits at `/changes` has it, with a rename "
        "every 50 ms. The readers run in the process of the writer, and share its processor.",
        ["server", "renamed", "readers", "p50", "p99"],
        [
            [each.server, each.writer, f"{each.readers}", f"{each.p50:.1f}", f"{each.p99:.1f}"]
            for each in found
        ],
        {f"feed: told, {each.server}, {each.writer}, {each.readers}": each.p50 for each in found},
    )
