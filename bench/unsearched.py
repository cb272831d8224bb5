"""What an append pays for search: the code before it and this code do the same in turns.

The index follows in batches of a hundred writes. So what counts is the mean of many appends, which
has the batches in it.
"""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

from . import server
from .data import CONVERSATIONS
from .earlier import (
    APPEND_OVER_HTTP,
    BYTES,
    PLAIN,
    Side,
    appends_over_http,
    checkout,
    in_turns,
    working,
)
from .options import Options, Section, Step
from .search import sizes
from .search_files import copy, copy_without_index, file_of
from .server import ROOT
from .texts import text
from .timing import Compared

COMMIT = "a7f06ca"  # the last one without search
TEXTS = [text(number) for number in range(1, 1_000)]
BLOCKS = 8  # a round, in turns
GROUPS = 100  # of eight appends, in a block
APPENDED_CONVERSATIONS = 4_000  # of a large file
RUN_SECONDS = 5

# The names of measures that goals use.
APPEND = "append, in process"
SMALL, LARGE = "a new file", "the largest file of the searches"
OVER_HTTP = [f"{name}, {where}" for where in (SMALL, LARGE) for name in (APPEND_OVER_HTTP, BYTES)]


def steps(options: Options) -> int:
    return 4


def measure(options: Options, step: Step) -> list[Compared]:
    """Ours against the earlier code."""
    earlier = checkout(options.cache, COMMIT)
    sides = [Side(options.folder / "ours.db", ROOT), Side(options.folder / "earlier.db", earlier)]
    found = []
    with ExitStack() as running:
        workers = [running.enter_context(working(side.checkout)) for side in sides]
        paths = [
            worker.ask("make", str(side.database))[PLAIN]
            for worker, side in zip(workers, sides, strict=True)
        ]
        for worker in workers:
            worker.ask("say", TEXTS)
        blocks = BLOCKS * options.rounds
        found.append(in_turns(APPEND, workers, ("write_all", PLAIN, GROUPS), blocks))
        step(APPEND)
    found += _over_http(SMALL, sides, paths, options)
    step(SMALL)
    large = file_of(sizes(options)[-1], options.cache).path
    sides = [
        Side(copy(large, options.folder / "large-ours.db"), ROOT),
        Side(copy_without_index(large, options.folder / "large-earlier.db"), earlier),
    ]
    step("copies")
    found += _over_http(LARGE, sides, [_some_of(large)] * 2, options)
    step(LARGE)
    return found


def _over_http(
    where: str, sides: list[Side], paths: list[list[str]], options: Options
) -> list[Compared]:
    with ExitStack() as running:
        servers = [running.enter_context(server.local(*side)) for side in sides]
        return appends_over_http(where, servers, paths, options, TEXTS, RUN_SECONDS)


def _some_of(database: Path) -> list[str]:
    """Paths to append to, from all over the file."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT id FROM conversation ORDER BY random() LIMIT ?"
        found = connection.execute(query, [APPENDED_CONVERSATIONS]).fetchall()
    return [f"{CONVERSATIONS}/{id}/messages" for (id,) in found]


def section(found: list[Compared]) -> Section:
    return Section(
        "Search: what an append pays",
        f"This code against that of commit {COMMIT}, which had no search: microseconds, and bytes "
        "where they are named. In process with synchronous=OFF, eight appends in each group, the "
        f"mean of {8 * GROUPS}; and over HTTP with synchronous=FULL on 8 connections. The appended "
        "texts are those of the searches, about 190 characters each, and the index follows "
        "meanwhile.",
        ["measure", "ours", "earlier code", "ratio"],
        [each.row() for each in found],
        {f"unsearched: {each.name}": each.ratio for each in found},
    )
