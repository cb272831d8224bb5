"""Followers: what they cost while nothing happens, and what they cost those who write."""

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from db import messages
from db.messages import Draft
from db.scope import EVERYTHING

from . import server
from .data import CONVERSATIONS, Batch, fill, ids, project, use
from .options import Options, Section, Step
from .server import Server
from .soak.client import Client

WRITERS = 8
WAIT_SECONDS = 20
SETTLE_SECONDS = 2.0
PAUSE_SECONDS = 0.05
TICKS = os.sysconf("SC_CLK_TCK")  # a second, in /proc/*/stat


class Followers(NamedTuple):
    """So many followers, of so many conversations."""

    count: int
    conversations: int

    @property
    def name(self) -> str:
        if not self.count:
            return "none"
        return f"{self.count:,} of {self.conversations:,}"


NOBODY, ONE = Followers(0, 1), Followers(1, 1)
MANY_OF_ONE, EACH_ITS_OWN = Followers(200, 1), Followers(1000, 1000)


class Idle(NamedTuple):
    server: str
    core: float  # the share of one that the server's processes take
    megabytes: float  # of their own, with what they share counted once


class Busy(NamedTuple):
    """While 8 clients append to the conversations. Times are in milliseconds."""

    server: str
    followers: str
    appends: float  # a second
    p50: float
    p99: float
    health_p99: float


class Told(NamedTuple):
    """After how many milliseconds a follower has what was sent, with one append every 50 ms."""

    server: str
    followers: str
    writer: str
    p50: float
    p99: float


Found = Idle | Busy | Told


def steps(options: Options) -> int:
    return 2 * 7


def measure(options: Options, step: Step) -> list[Found]:
    found: list[Found] = []
    for name, serving in (("chalice local", server.local), ("production", server.production)):
        database = options.folder / f"{serving.__name__}.db"
        fill(database, Batch([project(1)], [None], EACH_ITS_OWN.conversations, 1))
        with serving(database) as running:
            for each in _measure(name, running, options):
                found.append(each)
                step(f"{name}, {type(each).__name__.lower()}")
    return found


def _measure(name: str, running: Server, options: Options) -> Iterator[Found]:
    conversations = ids(running.database, project(1))
    port = int(running.url.rpartition(":")[2])
    with following(port, EACH_ITS_OWN, conversations):
        yield _idle(name, running, options.scaled(40))
    for followers in (ONE, MANY_OF_ONE):
        with following(port, followers, conversations) as stop:
            asyncio.run(_say_calmly(port, conversations[0], options.scaled(200)))
            yield _told(name, followers, "by a client", stop())
    with following(port, ONE, conversations) as stop:
        _write_calmly(running.database, conversations[0], options.scaled(200))
        yield _told(name, ONE, "by another process", stop())
    for followers in (NOBODY, MANY_OF_ONE, EACH_ITS_OWN):
        with following(port, followers, conversations) as stop:
            seconds = options.scaled(15)
            paths = conversations[: followers.conversations]
            taken, health = asyncio.run(_say_constantly(port, paths, seconds))
            stop()
        rate = len(taken) / seconds
        yield Busy(name, followers.name, rate, median(taken), _p99(taken), _p99(health))


def _told(name: str, followers: Followers, writer: str, times: list[float]) -> Told:
    return Told(name, followers.name, writer, median(times), _p99(times))


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


# --- What the server takes


def _idle(name: str, running: Server, seconds: int) -> Idle:
    processes = _family(running.process_id)
    before = sum(map(_cpu_seconds, processes))
    time.sleep(seconds)
    taken = sum(map(_cpu_seconds, processes)) - before
    return Idle(name, taken / seconds, sum(map(_megabytes, processes)))


def _family(process_id: int) -> list[int]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [process_id, *map(int, children)]


def _cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _megabytes(process_id: int) -> float:
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


# --- Who writes


async def _say_constantly(
    port: int, conversations: list[str], seconds: float
) -> tuple[list[float], list[float]]:
    """The milliseconds that appends took, and those that /health took meanwhile."""
    end = time.perf_counter() + seconds
    taken: list[float] = []
    health: list[float] = []

    async def write(number: int) -> None:
        client, turn = Client(port), number
        while time.perf_counter() < end:
            started = time.perf_counter()
            await _say(client, conversations[turn % len(conversations)])
            taken.append((time.perf_counter() - started) * 1000)
            turn += WRITERS
        client.close()

    async def ask() -> None:
        client = Client(port)
        while time.perf_counter() < end:
            started = time.perf_counter()
            assert (await client.send("GET", "/health")).status == 200
            health.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.02)
        client.close()

    await asyncio.gather(ask(), *map(write, range(WRITERS)))
    return taken, health


async def _say_calmly(port: int, conversation: str, times: int) -> None:
    for _ in range(times):
        client = Client(port)  # a new one, so that each worker gets some
        await _say(client, conversation)
        client.close()
        await asyncio.sleep(PAUSE_SECONDS)


async def _say(client: Client, conversation: str) -> None:
    message = {"role": "user", "content": str(time.time())}
    answer = await client.send("POST", f"{CONVERSATIONS}/{conversation}/messages", message)
    assert answer.status == 201, answer


def _write_calmly(database: Path, conversation: str, times: int) -> None:
    store = use(database)
    for _ in range(times):
        messages.append(EVERYTHING, conversation, [Draft("user", str(time.time()))])
        time.sleep(PAUSE_SECONDS)
    store.close_all()


# --- Who follows


@contextmanager
def following(
    port: int, followers: Followers, conversations: list[str]
) -> Iterator[Callable[[], list[float]]]:
    """Follow in a process of its own. What is yielded stops it, and returns the milliseconds from
    the moment when a message was sent until a follower had it.
    """
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    chosen = [conversations[number % followers.conversations] for number in range(followers.count)]
    process = context.Process(target=_follow_all, args=(port, chosen, there))
    process.start()
    assert here.recv() == "ready"
    time.sleep(SETTLE_SECONDS)
    times: list[float] = []

    def stop() -> list[float]:
        if process.is_alive():
            here.send("stop")
            times.extend(here.recv())
            process.join()
        return times

    try:
        yield stop
    finally:
        stop()


def _follow_all(port: int, conversations: list[str], pipe: Connection) -> None:
    os.nice(19)  # these clients would be elsewhere, and not take the server's time
    times: list[float] = []

    async def follow(id: str) -> None:
        client, path = Client(port), f"{CONVERSATIONS}/{id}"
        found = await client.send("GET", f"{path}?include_messages=false")
        last = found.headers["etag"].strip('"')
        while True:
            headers = {"Last-Event-ID": last}
            answer = await client.send("GET", f"{path}/events?wait={WAIT_SECONDS}", headers=headers)
            now = time.time()
            assert answer.status == 200, answer
            *_, event = answer.body.decode().strip().rpartition("\n\n")
            if event.startswith("id: "):
                id, _, data = event.splitlines()
                last = id.removeprefix("id: ")
                message = json.loads(data.removeprefix("data: "))
                times.append((now - float(message["content"])) * 1000)

    async def follow_until_told() -> None:
        tasks = [asyncio.create_task(follow(id)) for id in conversations]
        await asyncio.sleep(0.1)
        pipe.send("ready")
        while not pipe.poll():
            await asyncio.sleep(0.05)
            for task in tasks:
                if task.done():
                    task.result()
        for task in tasks:
            task.cancel()

    asyncio.run(follow_until_told())
    pipe.send(times)


def section(found: list[Found]) -> Section:
    idle = [each for each in found if isinstance(each, Idle)]
    told = [each for each in found if isinstance(each, Told)]
    busy = [each for each in found if isinstance(each, Busy)]
    alone = {each.server: each.p99 for each in busy if each.followers == NOBODY.name}
    measured = {f"followers: {each.server}, idle": each.core for each in idle}
    measured |= {f"followers: {each.server}, megabytes": each.megabytes for each in idle}
    measured |= {
        f"followers: {each.server}, {each.followers}, {each.writer}": each.p50 for each in told
    }
    for each in busy:
        measured[f"followers: {each.server}, {each.followers}"] = each.p99 / alone[each.server]
        measured[f"followers: {each.server}, {each.followers}, health"] = each.health_p99
    return Section(
        "Followers",
        f"Clients that wait at `/events?wait={WAIT_SECONDS}` and ask again at once. Idle: what all "
        "processes of the server take. Told: milliseconds from the moment when a message is sent, "
        "or written to the file by another process, until a follower has it. Busy: milliseconds of "
        f"an append while {WRITERS} connections append as fast as they can to the conversations "
        "that are followed, the ratio to the 99th percentile without followers, and `/health` "
        "meanwhile.",
        ["server, followers", "p50", "p99", "ratio", "/s", "`/health` p99", "core", "MB"],
        [
            *(
                [f"{each.server}, {EACH_ITS_OWN.name}: idle", *[""] * 5,
                 f"{100 * each.core:.1f} %", f"{each.megabytes:.0f}"]
                for each in idle
            ),
            *(
                [f"{each.server}, {each.followers}: told {each.writer}", f"{each.p50:,.1f}",
                 f"{each.p99:,.1f}", *[""] * 5]
                for each in told
            ),
            *(
                [f"{each.server}, {each.followers}: busy", f"{each.p50:,.1f}", f"{each.p99:,.1f}",
                 f"**{each.p99 / alone[each.server]:.2f}**", f"{each.appends:,.0f}",
                 f"{each.health_p99:,.1f}", "", ""]
                for each in busy
            ),
        ],
        measured,
    )  # fmt: skip
