"""What conversations without branches pay for branches and side bars.

The code before them and this code do the same in turns. Then a file of the one becomes a file of
the other.
"""

import os
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter

from . import server
from .data import CONVERSATIONS, TEXTS, use
from .earlier import (
    APPEND_OVER_HTTP,
    PLAIN,
    Side,
    appends_over_http,
    checkout,
    in_turns,
    working,
)
from .options import Options, Step
from .server import ROOT
from .timing import Compared

COMMIT = "4821422"  # the last one without them
LARGE_CONVERSATIONS, LARGE_MESSAGES = 50_000, 20
APPENDED_CONVERSATIONS = 4_000  # of these, of each kind
BLOCKS = 8  # a round, in turns
RUN_SECONDS = 3

# The names of measures that goals use. The kinds of conversations are those of worker.py.
OF_USER = "of a user"
KINDS = (PLAIN, OF_USER, "with two tags")
MANY = "among 1,000,000 messages"
APPEND = "append"
CREATE, GET, PAGE = "create", "get, 20 messages", "list of 20 messages"
MIGRATION = "seconds of a migration"


def steps(options: Options) -> int:
    return 2 + len(KINDS) + 3


def measure(options: Options, step: Step) -> list[Compared]:
    """Ours against the earlier code."""
    sides = [
        Side(options.folder / "ours.db", ROOT),
        Side(options.folder / "earlier.db", checkout(options.cache, COMMIT)),
    ]
    paths, found = _in_process(sides, options, step)
    return [*found, *_over_http(sides, paths, options, step), *_with_many(options, step)]


def _in_process(
    sides: list[Side], options: Options, step: Step
) -> tuple[dict[str, list[list[str]]], list[Compared]]:
    """The paths to append to by kind, those of each side, and what was measured."""
    with ExitStack() as running:
        workers = [running.enter_context(working(side.checkout)) for side in sides]
        made = [
            worker.ask("make", str(side.database))
            for worker, side in zip(workers, sides, strict=True)
        ]
        step("files")
        blocks = BLOCKS * options.rounds
        found = [
            in_turns(f"{APPEND}, {kind}", workers, ("write", kind, 10), blocks) for kind in KINDS
        ]
        found.append(in_turns(CREATE, workers, ("write", "create", 10), blocks))
        for name, asked in ((GET, "get"), (PAGE, "page")):
            found.append(in_turns(name, workers, ("read", asked, 80), blocks))
        step("in process")
    return {kind: [each[kind] for each in made] for kind in KINDS}, found


def _over_http(
    sides: list[Side], paths: dict[str, list[list[str]]], options: Options, step: Step
) -> list[Compared]:
    found = []
    with ExitStack() as running:
        servers = [running.enter_context(server.local(*side)) for side in sides]
        for kind, of_sides in paths.items():
            found += appends_over_http(kind, servers, of_sides, options, TEXTS[:1], RUN_SECONDS)
            step(f"{APPEND_OVER_HTTP}, {kind}")
    return found


def _with_many(options: Options, step: Step) -> list[Compared]:
    """A file with many messages becomes one of ours. Then both are appended to."""
    made = _large_file(options.cache)
    ours, earlier = (options.folder / f"large-{name}.db" for name in ("ours", "earlier"))
    taken = []
    for _ in range(options.rounds):
        shutil.copy(made, ours)
        os.sync()
        began = perf_counter()
        use(ours).close_all()
        taken.append(perf_counter() - began)
    step(MIGRATION)
    shutil.copy(made, earlier)
    paths = {f"{kind}, {MANY}": [some, some] for kind, some in _some_of(made).items()}
    sides = [Side(ours, ROOT), Side(earlier, checkout(options.cache, COMMIT))]
    found = _over_http(sides, paths, options, step)
    return [*found, Compared(MIGRATION, [(each, 0) for each in taken])]


def _some_of(database: Path) -> dict[str, list[str]]:
    """Paths to append to, from all over the file."""
    found = {}
    with closing(sqlite3.connect(database)) as connection:
        for kind, condition in ((PLAIN, "IS NULL"), (OF_USER, "IS NOT NULL")):
            query = f"SELECT id FROM conversation WHERE user_id {condition} ORDER BY random()"
            rows = connection.execute(f"{query} LIMIT {APPENDED_CONVERSATIONS}")
            found[kind] = [f"{CONVERSATIONS}/{id}/messages" for (id,) in rows]
    return found


def _large_file(cache: Path) -> Path:
    """A file of the earlier schema."""
    path = cache / f"{COMMIT}-{LARGE_CONVERSATIONS}-{LARGE_MESSAGES}.db"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        with working(checkout(cache, COMMIT)) as worker:
            worker.ask("make_large", str(unfinished), LARGE_CONVERSATIONS, LARGE_MESSAGES)
        unfinished.rename(path)
    return path
