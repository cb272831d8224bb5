"""Load over HTTP: wrk sends one kind of request to a server, on some connections, for seconds."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from .data import key_for
from .server import Server

SCRIPT = Path(__file__).with_name("wrk.lua")


class Operation(NamedTuple):
    """One kind of request, sent to `paths` in turn."""

    name: str
    method: str
    paths: list[str]
    body: Any = None
    slowest_seconds: float = 0.01  # that one answer keeps a server busy, at most
    bodies: Sequence[Any] = ()  # in turn, if there is more than one `body`


class Load(NamedTuple):
    """How many connections wrk opens, and whether it keeps each or uses it once."""

    name: str
    connections: int
    keep_alive: bool = True


ONE = Load("1 connection", 1)
EIGHT = Load("8 connections", 8)
THIRTY_TWO = Load("32 connections", 32)
HUNDRED = Load("100 connections", 100)
EIGHT_NEW = Load("8 new connections", 8, keep_alive=False)


class Result(NamedTuple):
    requests: int  # answered
    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float
    failed: int


def seconds_for(operation: Operation, load: Load) -> int:
    """Each connection should get two answers, or there is no rate."""
    return ceil(max(1, 2 * load.connections * operation.slowest_seconds))


def send(
    to: Server,
    operation: Operation,
    load: Load,
    folder: Path,
    seconds: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Result:
    """What wrk measured. `folder` gets its files. By default a key is sent where one is needed.

    Raises RuntimeError if a request failed.
    """
    paths, bodies, lines = (folder / f"{name}.txt" for name in ("paths", "bodies", "headers"))
    sent = key_for(operation.paths[0]) if headers is None else headers
    lines.write_text("".join(f"{name}: {value}\n" for name, value in sent.items()))
    paths.write_text("\n".join(operation.paths))
    every = operation.bodies or [operation.body] * bool(operation.body)
    bodies.write_text("\n".join(map(json.dumps, every)))
    environment = {
        "WRK_PATHS": str(paths),
        "WRK_METHOD": operation.method,
        "WRK_HEADERS": str(lines),
        "WRK_BODIES": str(bodies) if every else "",
        "WRK_CLOSE": "" if load.keep_alive else "yes",
    }
    seconds = seconds or seconds_for(operation, load)
    flags = [f"-c{load.connections}", "-t1", f"-d{seconds}s", "--timeout", "20s"]
    done = subprocess.run(
        ["wrk", *flags, "-s", str(SCRIPT), to.url],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    result = Result(**json.loads(done.stdout.splitlines()[-1]))
    if result.failed:
        raise RuntimeError(f"{to.name} failed {result.failed} × {operation.name}:\n{done.stdout}")
    # A busy machine may not finish one answer in time. Then the rate is at most this.
    return result if result.requests else result._replace(rate=1 / seconds)
