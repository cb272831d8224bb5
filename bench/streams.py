"""Streams: does the 1,500th append cost what the first did, and how much does each write."""

import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .data import CONVERSATIONS, Batch, fill, ids, project, use
from .inprocess import Gateway
from .options import Options, Section, Step
from .timing import microseconds

APPENDS, EDGE = 1500, 200
DELTA = ("Ein naïver Satz, wie ihn ein Modell so schreibt. " * 9)[:400]


class Stream(NamedTuple):
    """One stream's median microseconds for an append at its ends, and the bytes of each."""

    first: float
    last: float
    bytes: float


def steps(options: Options) -> int:
    return options.rounds


def measure(options: Options, step: Step) -> list[Stream]:
    database = options.folder / "streams.db"
    fill(database, Batch([project(1)], [None], options.rounds, 20))
    use(database)
    gateway = Gateway()
    found = []
    for id in ids(database, project(1)):
        found.append(_stream(gateway, f"{CONVERSATIONS}/{id}/messages"))
        step(f"stream {len(found)}")
    return found


def _stream(gateway: Gateway, messages: str) -> Stream:
    opened = {"role": "assistant", "content": "", "status": "in_progress"}
    path = f"{messages}/{gateway.json('POST', messages, opened)['id']}/append"
    offset = 0

    def append() -> None:
        nonlocal offset
        gateway.send("POST", path, json.dumps({"offset": offset, "delta": DELTA}).encode())
        offset += len(DELTA)

    before = _written()
    taken = microseconds(append, APPENDS)
    written = _written() - before
    gateway.json("POST", path, {"offset": offset, "delta": "", "status": "completed"})
    return Stream(median(taken[:EDGE]), median(taken[-EDGE:]), written / APPENDS)


def _written() -> int:
    """Bytes that this process has written: to the database and its log, as nothing else writes."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def section(found: list[Stream]) -> Section:
    first, last = (median(getattr(each, end) for each in found) for end in ("first", "last"))
    ratio = median(each.last / each.first for each in found)
    written = median(each.bytes for each in found)
    return Section(
        "Streams",
        f"{APPENDS:,} appends of {len(DELTA)} characters to one message, synchronous=FULL: median "
        f"microseconds of the first and the last {EDGE}, and bytes written to the database file "
        "and its log for each append.",
        ["first µs", "last µs", "ratio", "bytes an append"],
        [[f"{first:,.0f}", f"{last:,.0f}", f"**{ratio:.2f}**", f"{written:,.0f}"]],
        {"streams: last against first": ratio, "streams: bytes": written},
    )
