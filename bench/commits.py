"""Group commit over HTTP: how many appends share a commit, and how many bytes each one writes."""

import struct
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import server, wrk
from .data import fill_usual
from .options import Options, Section, Step
from .peers import operations
from .server import Server
from .wrk import EIGHT, ONE, THIRTY_TWO, Load

RUN_SECONDS = 3
LOADS = (ONE, EIGHT, THIRTY_TWO)
CHANGE_COUNTER_OFFSET = 8  # in the header of the -shm file; https://sqlite.org/walformat.html


class Count(NamedTuple):
    """What a server did in one run."""

    requests: int
    commits: int
    bytes: int  # to the database file and its log


class Sharing(NamedTuple):
    """One count a round."""

    load: str
    counts: list[Count]

    @property
    def requests_a_commit(self) -> float:
        return median(each.requests / each.commits for each in self.counts)

    @property
    def bytes_a_request(self) -> float:
        return median(each.bytes / each.requests for each in self.counts)


def steps(options: Options) -> int:
    return options.rounds * len(LOADS)


def measure(options: Options, step: Step) -> list[Sharing]:
    database = fill_usual(options.folder / "commits.db")
    append = operations(database)["append"]
    counts: dict[Load, list[Count]] = {load: [] for load in LOADS}
    with server.local(database) as running:
        wrk.send(running, append, EIGHT, options.folder)  # the log file reaches its usual size
        for number in range(options.rounds):
            for load in LOADS:
                before = _state(running)
                answered = wrk.send(running, append, load, options.folder, RUN_SECONDS).requests
                after = _state(running)
                counts[load].append(
                    Count(answered, *(new - old for new, old in zip(after, before, strict=True)))
                )
                step(f"round {number + 1}, {load.name}")
    return [Sharing(load.name, counts[load]) for load in LOADS]


def _state(running: Server) -> tuple[int, int]:
    """Commits so far, and bytes written so far."""
    return _commits(running.database), written(running)


def _commits(database: Path) -> int:
    """SQLite's own counter of transactions, which the processes of a database share."""
    header = Path(f"{database}-shm").read_bytes()[:48]
    return struct.unpack_from("=I", header, CHANGE_COUNTER_OFFSET)[0]


def written(running: Server) -> int:
    """Bytes written to the database file and its write-ahead log.

    `wchar` counts what a process writes to files, and not what it sends on sockets. The only other
    file is the server's log of requests.
    """
    lines = Path(f"/proc/{running.process_id}/io").read_text().splitlines()
    written = int(dict(line.split(": ") for line in lines)["wchar"])
    return written - running.log.stat().st_size


def section(found: list[Sharing]) -> Section:
    alone = found[0].bytes_a_request
    return Section(
        "Commits: what appends share",
        "Appends over HTTP to `chalice local`, to 200 conversations in turn: how many requests one "
        "commit holds by SQLite's own counter, and the bytes that an append writes to the database "
        "file and its write-ahead log. On one connection each append has a commit of its own.",
        ["load", "requests a commit", "bytes an append", "ratio of bytes"],
        [
            [
                each.load,
                f"{each.requests_a_commit:.1f}",
                f"{each.bytes_a_request:,.0f}",
                f"**{each.bytes_a_request / alone:.2f}**",
            ]
            for each in found
        ],
        {f"commits: bytes, {each.load}": each.bytes_a_request / alone for each in found},
    )
