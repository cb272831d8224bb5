"""Live answers: how soon a reader has a piece of one, counted from when the model sent it."""

import asyncio
import json
import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median, quantiles
from typing import Any, NamedTuple

from . import server
from .data import CONVERSATIONS, Batch, fill, ids, project
from .options import Options, Section, Step

PIECES, PIECE_SECONDS = 60, 0.03  # of an answer, and between two of them
ANSWERS = (1, 8, 32)  # at once
WARM_UP = 4
SERVERS = ("local", "production")
SAYS_WHEN = re.compile(r"\d{10}\.\d{6}")


class Told(NamedTuple):
    """Milliseconds from a piece's way out of the model until a reader has it."""

    server: str
    answers: int
    asker: list[float]  # who asked for the answer
    follower: list[float]  # of `/events`, in the same process or, if there are more, in any
    first: list[float]  # from the request until the first piece, of a model that does not think
    health: list[float]  # of GET /health meanwhile


def steps(options: Options) -> int:
    return len(SERVERS) * len(ANSWERS)


def measure(options: Options, step: Step) -> list[Told]:
    found = []
    path = options.folder / "live.db"
    fill(path, Batch([project(1)], [None], 200, 0))
    made = iter(ids(path, project(1)))
    with _model() as url:
        os.environ["CHAT_BASE_URL"] = url
        try:
            for name in SERVERS:
                with getattr(server, name)(path) as running:
                    port = int(running.url.rpartition(":")[2])
                    for _ in range(WARM_UP):  # a process imports its client for the first answer
                        asyncio.run(_answers(name, port, [next(made)]))
                    for answers in ANSWERS:
                        chosen = [next(made) for _ in range(answers)]
                        found.append(asyncio.run(_answers(name, port, chosen)))
                        step(f"{name}, {answers}")
        finally:
            del os.environ["CHAT_BASE_URL"]
    return found


async def _answers(name: str, port: int, conversations: list[str]) -> Told:
    """Ask in all of the conversations at once, with a follower of each, and one of the health."""
    told = Told(name, len(conversations), [], [], [], [])
    followers = [asyncio.create_task(_follow(port, id, told.follower)) for id in conversations]
    await asyncio.sleep(0.5)
    pulse = asyncio.create_task(_pulse(port, told.health))
    await asyncio.gather(*(_ask(port, id, told) for id in conversations))
    for task in (*followers, pulse):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return told


async def _ask(port: int, id: str, told: Told) -> None:
    began, is_first = time.time(), True
    body = json.dumps({"conversation_id": id, "content": "Hi"})
    head = {"Accept": "text/event-stream", "Content-Type": "application/json"}
    async for line in _lines(port, "POST", "/api/v1/chat", body, head):
        now = time.time()
        for sent in _moments(line):
            told.asker.append((now - sent) * 1000)
            if is_first:
                told.first.append((now - began) * 1000)
            is_first = False
        if line.startswith("event: done"):
            return


async def _follow(port: int, id: str, times: list[float]) -> None:
    async for line in _lines(port, "GET", f"{CONVERSATIONS}/{id}/events?live=true"):
        now = time.time()
        times += [(now - sent) * 1000 for sent in _moments(line)]


def _moments(line: str) -> list[float]:
    """When the pieces in an event were sent, which is all that they say."""
    return [float(at) for at in SAYS_WHEN.findall(line)] if '"delta":' in line else []


async def _pulse(port: int, times: list[float]) -> None:
    while True:
        began = time.time()
        async for _ in _lines(port, "GET", "/health", is_once=True):
            break
        times.append((time.time() - began) * 1000)
        await asyncio.sleep(PIECE_SECONDS)


async def _lines(
    port: int,
    method: str,
    path: str,
    body: str = "",
    headers: dict[str, str] | None = None,
    is_once: bool = False,
) -> Any:
    """The lines of a response as they come, those of its head and of its chunks' sizes too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    named = {"Host": "x", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode())
    try:
        while line := await reader.readline():
            yield line.decode().strip()
            if is_once:
                return
    finally:
        writer.close()


@contextmanager
def _model() -> Iterator[str]:
    """A model in a process of its own. Each piece says when it was sent."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_model, args=(theirs,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{ours.recv()}"
    process.terminate()
    process.join()


def _serve_model(pipe: Any) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(re.findall(r"content-length: (\d+)", head)[0]))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        for _ in range(PIECES):
            chunk = {"choices": [{"index": 0, "delta": {"content": f"{time.time():.6f} "}}]}
            writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(PIECE_SECONDS)
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        writer.close()

    async def serve() -> None:
        listening = await asyncio.start_server(answer, "127.0.0.1", 0)
        pipe.send(listening.sockets[0].getsockname()[1])
        await listening.serve_forever()

    asyncio.run(serve())


def section(found: list[Told]) -> Section:
    return Section(
        "Live answers",
        "Milliseconds from when a model sends a piece until a reader has it, p50 and p95, while so "
        f"many answers are written at once, of {PIECES} pieces, one every "
        f"{PIECE_SECONDS * 1000:.0f} ms. The model, the readers and the server share the "
        "processors. A follower of `/events` is in the process of the writer, or with two workers "
        "in either. The first piece is counted from the request.",
        ["server", "answers", "asker", "follower", "first piece", "/health meanwhile"],
        [
            [each.server, str(each.answers), *map(_both, each[2:])]  # type: ignore[arg-type]
            for each in found
        ],
        {
            f"live: {each.server}, {each.answers}, {name}": median(getattr(each, name))
            for each in found
            for name in ("asker", "follower", "first")
        },
    )


def _both(times: list[float]) -> str:
    if len(times) < 20:
        return f"{median(times):.1f}"
    return f"{median(times):.1f} / {quantiles(times, n=20)[18]:.1f}"
