"""Streams: does the 1,500th append cost what the first does, and how much does each write."""

import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .data import CONVERSATIONS, Batch, fill, ids, project, use
from .inprocess import Gateway
from .options import Options, Section, Step
from .timing import in_turns

APPENDS, EDGE = 1500, 200
DELTA = ("Ein naïver Satz, wie ihn ein Modell so schreibt. " * 9)[:400]


class Stream(NamedTuple):
    """Median microseconds of an append to a new stream and to one at its end, in turns; and the
    bytes that one writes."""

    first: float
    last: float
    bytes: float


class Writer:
    """One streaming message."""

    def __init__(self, gateway: Gateway, messages: str) -> None:
        opened = {"role": "assistant", "content": "", "status": "in_progress"}
        self._path = f"{messages}/{gateway.json('POST', messages, opened)['id']}/append"
        self._gateway, self._offset = gateway, 0

    def append(self) -> None:
        body = {"offset": self._offset, "delta": DELTA}
        self._gateway.send("POST", self._path, json.dumps(body).encode())
        self._offset += len(DELTA)

    def finish(self) -> None:
        body = {"offset": self._offset, "delta": "", "status": "completed"}
        self._gateway.json("POST", self._path, body)


def steps(options: Options) -> int:
    return options.rounds


def measure(options: Options, step: Step) -> list[Stream]:
    database = options.folder / "streams.db"
    fill(database, Batch([project(1)], [None], 2 * options.rounds, 20))
    use(database)
    gateway = Gateway()
    conversations = [f"{CONVERSATIONS}/{id}/messages" for id in ids(database, project(1))]
    found = []
    for new, old in zip(conversations[::2], conversations[1::2], strict=True):
        found.append(_stream(Writer(gateway, new), Writer(gateway, old)))
        step(f"stream {len(found)}")
    return found


def _stream(new: Writer, old: Writer) -> Stream:
    before = _written()
    for _ in range(APPENDS - EDGE):
        old.append()
    written = _written() - before
    taken = in_turns({"first": new.append, "last": old.append}, EDGE)
    for writer in (new, old):
        writer.finish()
    return Stream(taken["first"], taken["last"], written / (APPENDS - EDGE))


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
        f"microseconds of the last {EDGE}, in turns with the first {EDGE} to another one; and "
        "bytes written to the database file and its log for each.",
        ["first µs", "last µs", "ratio", "bytes an append"],
        [[f"{first:,.0f}", f"{last:,.0f}", f"**{ratio:.2f}**", f"{written:,.0f}"]],
        {"streams: last against first": ratio, "streams: bytes": written},
    )
