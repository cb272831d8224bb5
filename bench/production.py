"""`make serve-production` over HTTP: against `chalice local`, and against the twin on gunicorn."""

import shutil
from contextlib import ExitStack
from pathlib import Path

from . import server
from .data import fill_usual
from .options import Options, Section, Step
from .peers import TWINS, Comparison, compare, operations
from .server import PRODUCTION_WORKERS
from .twin.data import copy
from .wrk import EIGHT, THIRTY_TWO, Load

SHOWN_OPERATIONS = ("create", "append", "get, 20 messages")


def loads(options: Options) -> tuple[Load, ...]:
    return (EIGHT,) if options.quick else (EIGHT, THIRTY_TWO)


def steps(options: Options) -> int:
    return len(SHOWN_OPERATIONS) * len(loads(options))


def measure(options: Options, step: Step) -> list[Comparison]:
    database = fill_usual(options.folder / "production.db")
    local = Path(shutil.copy(database, options.folder / "local.db"))
    found = []
    with ExitStack() as running:
        servers = [
            running.enter_context(server.production(database)),
            running.enter_context(server.local(local)),
        ]
        for way in TWINS:
            path = options.folder / f"{way}.db"
            copy(database, path)
            servers.append(running.enter_context(server.production_twin(way, path)))
        by_name = operations(database)
        for name in SHOWN_OPERATIONS:
            for load in loads(options):
                found.append(compare(servers, by_name[name], load, options))
                step(f"{name}, {load.name}")
    return found


def section(found: list[Comparison]) -> Section:
    return Section(
        "Production: over HTTP",
        f"Requests a second, and milliseconds until the answer (99th percentile), with "
        f"{PRODUCTION_WORKERS} workers. Ours runs as `make serve-production` with "
        "`REQUIRE_API_KEY=false`. The twin runs on gunicorn with as many workers of "
        "`uvicorn-worker`. The first ratio is to `chalice local`, which has one process; the "
        "second is to the faster of the twins.",
        ["operation", "load", "ours /s", "local /s", "threads /s", "loop /s",
         "to local", "to twin", "ours p99", "local p99", "twin p99"],
        [
            [
                each.operation,
                each.load,
                *(f"{each.typical(name):,.0f}" for name in ("production", "ours", *TWINS)),
                f"**{each.ratio('production', 'ours'):.2f}**",
                f"**{each.ratio('production', each.twin):.1f}**",
                *(
                    f"{each.typical(name, 'p99'):,.1f}"
                    for name in ("production", "ours", each.twin)
                ),
            ]
            for each in found
        ],
        {
            f"production: {each.operation}, {each.load}": each.ratio("production", "ours")
            for each in found
        },
    )  # fmt: skip
