"""Over HTTP against the FastAPI twin: the same requests on the same rows, in turns, with wrk."""

import json
import os
import subprocess
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from . import server
from .data import APPEND, CONVERSATIONS, CREATE, LONG, READ, TEXTS, fill_usual, ids, key_for
from .options import Options, Section, Step
from .server import Server
from .twin.data import copy

TWINS = ("threads", "loop")


class Operation(NamedTuple):
    name: str
    method: str
    paths: list[str]
    body: Any = None
    slowest: float = 0.01  # seconds that one answer keeps a server busy, at most

    def seconds(self, connections: int) -> int:
        """How long to measure: each connection should get two answers, or there is no rate."""
        return ceil(max(1, 2 * connections * self.slowest))


class Load(NamedTuple):
    """How wrk asks: on how many connections, each kept or used once."""

    name: str
    connections: int
    keep_alive: bool = True


EIGHT = Load("8 connections", 8)
NEW = Load("8 new connections", 8, keep_alive=False)
LOADS = [Load("1 connection", 1), EIGHT, Load("32 connections", 32), NEW]


class Result(NamedTuple):
    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float
    failed: int


class Comparison(NamedTuple):
    """Each server's results, one a round."""

    operation: str
    load: str
    results: dict[str, list[Result]]

    def typical(self, name: str, field: str = "rate") -> float:
        return median(getattr(result, field) for result in self.results[name])

    @property
    def twin(self) -> str:
        """The faster way of the twin."""
        return max(TWINS, key=self.typical)

    def ratio(self, to: str) -> float:
        pairs = zip(self.results["ours"], self.results[to], strict=True)
        return median(ours.rate / theirs.rate for ours, theirs in pairs)


def operations(database: Path) -> list[Operation]:
    read, to_append, long = (
        [f"{CONVERSATIONS}/{id}" for id in ids(database, project_id)]
        for project_id in (READ, APPEND, LONG)
    )
    message = {"role": "user", "content": TEXTS[0]}
    conversation = {"project_id": CREATE, "title": "Architecture planning session"}
    return [
        Operation("create", "POST", [CONVERSATIONS], conversation),
        Operation("append", "POST", [f"{path}/messages" for path in to_append], message),
        Operation("get, 20 messages", "GET", read),
        Operation("list messages, 100", "GET", [f"{path}/messages" for path in long]),
        Operation("list 100 × 20", "GET", [f"{CONVERSATIONS}?project_id={READ}"], slowest=0.08),
        Operation("second API, list 100", "GET", [f"/projects/{READ}/conversations?limit=100"]),
    ]


def steps(options: Options) -> int:
    return len(_loads(options)) * 6


def _loads(options: Options) -> list[Load]:
    return [EIGHT] if options.quick else LOADS


def measure(options: Options, step: Step) -> list[Comparison]:
    database = fill_usual(options.folder / "ours.db")
    found = []
    with ExitStack() as running:
        servers = [running.enter_context(server.ours(database))]
        for way in TWINS:
            copy(database, options.folder / f"{way}.db")
            servers.append(running.enter_context(server.twin(way, options.folder / f"{way}.db")))
        for operation in operations(database):
            for load in _loads(options):
                results: dict[str, list[Result]] = {each.name: [] for each in servers}
                for _ in range(1 if options.quick else 3):
                    for each in servers:
                        results[each.name].append(_wrk(each, operation, load, options.folder))
                found.append(Comparison(operation.name, load.name, results))
                step(f"{operation.name}, {load.name}")
    return found


def _wrk(to: Server, operation: Operation, load: Load, folder: Path) -> Result:
    paths = folder / "paths.txt"
    paths.write_text("\n".join(operation.paths))
    environment = {
        "WRK_PATHS": str(paths),
        "WRK_METHOD": operation.method,
        "WRK_KEY": key_for(operation.paths[0]).get("X-API-Key", ""),
        "WRK_BODY": json.dumps(operation.body) if operation.body else "",
        "WRK_CLOSE": "" if load.keep_alive else "yes",
    }
    script = str(Path(__file__).with_name("wrk.lua"))
    flags = [
        f"-c{load.connections}",
        "-t1",
        f"-d{operation.seconds(load.connections)}s",
        "--timeout",
        "10s",
    ]
    done = subprocess.run(
        ["wrk", *flags, "-s", script, to.url],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    result = Result(**json.loads(done.stdout.splitlines()[-1]))
    if result.failed:
        raise RuntimeError(f"{to.name} failed {result.failed} × {operation.name}:\n{done.stdout}")
    return result


def section(found: list[Comparison]) -> Section:
    return Section(
        "Peers: over HTTP",
        "Requests a second, and milliseconds until the answer (median, 99th percentile), measured "
        "with wrk. Ours runs as `chalice local --no-autoreload --stage dev`; the twin is FastAPI "
        "and SQLAlchemy 2 on one uvicorn process with uvloop and httptools, WAL, "
        "synchronous=FULL, eager loading, run in threads and in the event loop. All write a log "
        "line for each request into a file. The ratio is to the faster of the twins.",
        ["operation", "load", "ours /s", "threads /s", "loop /s", "ratio",
         "ours p50", "twin p50", "ours p99", "twin p99"],
        [
            [
                each.operation,
                each.load,
                *(f"{each.typical(name):,.0f}" for name in ("ours", *TWINS)),
                f"**{each.ratio(each.twin):.1f}**",
                *(
                    f"{each.typical(name, field):,.1f}"
                    for field in ("p50", "p99")
                    for name in ("ours", each.twin)
                ),
            ]
            for each in found
        ],
        {f"peers: {each.operation}, {each.load}": each.ratio(each.twin) for each in found},
    )  # fmt: skip
