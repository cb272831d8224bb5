"""Streams: the time of the last appends against the first, and the bytes that each writes."""

import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .data import CONVERSATIONS, Batch, fill, ids, project, use
from .inprocess import Gateway
from .options import Options, Section, Step
from .timing import in_turns

STREAM_APPENDS, EDGE_APPENDS = 1500, 200
DELTA = ("Ein naïver Satz, wie ihn ein Modell so schreibt. " * 9)[:400]


class Stream(NamedTuple):
    """One append, to a new message and to one that is nearly whole."""

    first: float  # median microseconds, to the new one
    last: float
    bytes: float  # written


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
    for _ in range(STREAM_APPENDS - EDGE_APPENDS):
        old.append()
    written = _written() - before
    taken = in_turns({"first": new.append, "last": old.append}, EDGE_APPENDS)
    for writer in (new, old):
        writer.finish()
    return Stream(taken["first"], taken["last"], written / (STREAM_APPENDS - EDGE_APPENDS))


def _written() -> int:
    """Bytes that this process has written. It writes to the database and its log only."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def section(found: list[Stream]) -> Section:
    first, last = (median(getattr(each, end) for each in found) for end in ("first", "last"))
    ratio = median(each.last / each.first for each in found)
    written = median(each.bytes for each in found)
    return Section(
        "Streams",
        f"{STREAM_APPENDS:,} appends of {len(DELTA)} characters to one message with "
        f"synchronous=FULL: median microseconds of the last {EDGE_APPENDS} in turns with the first "
        f"{EDGE_APPENDS} to another message, and the bytes that each append writes to the database "
        "file and its log.",
        ["first µs", "last µs", "ratio", "bytes an append"],
        [[f"{first:,.0f}", f"{last:,.0f}", f"**{ratio:.2f}**", f"{written:,.0f}"]],
        {"streams: last against first": ratio, "streams: bytes": written},
    )
