"""Over HTTP against the FastAPI twin: the same requests on the same rows, in turns, with wrk."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import server, wrk
from .data import (
    APPEND_PROJECT,
    CONVERSATIONS,
    CREATE_PROJECT,
    LONG_PROJECT,
    READ_PROJECT,
    TEXTS,
    fill_usual,
    ids,
)
from .options import Options, Section, Step
from .server import Server
from .twin.data import copy
from .wrk import EIGHT, EIGHT_NEW, HUNDRED, ONE, THIRTY_TWO, Load, Operation, Result

TWINS = ("threads", "loop")
USUAL_LOADS = (ONE, EIGHT, THIRTY_TWO, EIGHT_NEW)
WITH_HUNDRED = ("create", "append", "get, 20 messages")


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

    def ratio(self, name: str, to: str) -> float:
        """How many times the rate of `to` the server `name` reaches."""
        pairs = zip(self.results[name], self.results[to], strict=True)
        return median(one.rate / other.rate for one, other in pairs)


def operations(database: Path) -> dict[str, Operation]:
    """By name, on the rows of `fill_usual`."""
    read, to_append, long = (
        [f"{CONVERSATIONS}/{id}" for id in ids(database, project_id)]
        for project_id in (READ_PROJECT, APPEND_PROJECT, LONG_PROJECT)
    )
    message = {"role": "user", "content": TEXTS[0]}
    conversation = {"project_id": CREATE_PROJECT, "title": "Architecture planning session"}
    every = (
        Operation("create", "POST", [CONVERSATIONS], conversation),
        Operation("append", "POST", [f"{path}/messages" for path in to_append], message),
        Operation("get, 20 messages", "GET", read),
        Operation("list messages, 100", "GET", [f"{path}/messages" for path in long]),
        Operation(
            "/api/v1 list, 100 × 20",
            "GET",
            [f"{CONVERSATIONS}?project_id={READ_PROJECT}"],
            slowest_seconds=0.15,
        ),
        Operation(
            "/projects list, 100", "GET", [f"/projects/{READ_PROJECT}/conversations?limit=100"]
        ),
    )
    return {each.name: each for each in every}


def loads(operation: str, options: Options) -> tuple[Load, ...]:
    if options.quick:
        return (EIGHT,)
    return (*USUAL_LOADS, HUNDRED) if operation in WITH_HUNDRED else USUAL_LOADS


def steps(options: Options) -> int:
    return 6 * len(USUAL_LOADS) + len(WITH_HUNDRED) if not options.quick else 6


def measure(options: Options, step: Step) -> list[Comparison]:
    database = fill_usual(options.folder / "ours.db")
    found = []
    with ExitStack() as running:
        servers = [running.enter_context(server.local(database))]
        for way in TWINS:
            copy(database, options.folder / f"{way}.db")
            servers.append(running.enter_context(server.twin(way, options.folder / f"{way}.db")))
        for operation in operations(database).values():
            for load in loads(operation.name, options):
                found.append(compare(servers, operation, load, options))
                step(f"{operation.name}, {load.name}")
    return found


def compare(
    servers: Sequence[Server], operation: Operation, load: Load, options: Options
) -> Comparison:
    """Measure the servers in turns."""
    results: dict[str, list[Result]] = {each.name: [] for each in servers}
    for _ in range(1 if options.quick else 5):
        for each in servers:
            results[each.name].append(wrk.send(each, operation, load, options.folder))
    return Comparison(operation.name, load.name, results)


def section(found: list[Comparison]) -> Section:
    return Section(
        "Peers: over HTTP",
        "Requests a second, and milliseconds until the answer (median, 99th percentile), measured "
        "with wrk. Ours runs as `chalice local --no-autoreload --stage dev`. The twin is FastAPI "
        "with SQLAlchemy 2 on one uvicorn process, with uvloop, httptools and eager loading. Its "
        "endpoints run in threads, or in the event loop. Both databases have WAL and "
        "synchronous=FULL, and each server writes a log line for each request into a file. The "
        "ratio is to the faster of the twins.",
        ["operation", "load", "ours /s", "threads /s", "loop /s", "ratio",
         "ours p50", "twin p50", "ours p99", "twin p99"],
        [
            [
                each.operation,
                each.load,
                *(f"{each.typical(name):,.0f}" for name in ("ours", *TWINS)),
                f"**{each.ratio('ours', each.twin):.1f}**",
                *(
                    f"{each.typical(name, field):,.1f}"
                    for field in ("p50", "p99")
                    for name in ("ours", each.twin)
                ),
            ]
            for each in found
        ],
        _measured(found),
    )  # fmt: skip


def _measured(found: list[Comparison]) -> dict[str, float]:
    measured = {
        f"peers: {each.operation}, {each.load}": each.ratio("ours", each.twin) for each in found
    }
    creates = {
        each.load: each.typical("ours", "p99") for each in found if each.operation == "create"
    }
    if EIGHT.name in creates and THIRTY_TWO.name in creates:
        measured["peers: create, p99"] = creates[THIRTY_TWO.name] / creates[EIGHT.name]
    return measured
