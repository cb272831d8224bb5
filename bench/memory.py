"""The memory of a process after 100,000 requests, against that after 1,000.

Run as a module, it is that process. It prints its resident bytes after so many requests.
"""

import json
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from .data import CONVERSATIONS, CREATE_PROJECT, READ_PROJECT, TEXTS, fill_usual, ids, use
from .options import Options, Section, Step
from .server import ROOT

EARLY_REQUESTS, LATE_REQUESTS, QUICK_REQUESTS = 1_000, 100_000, 10_000


class Memory(NamedTuple):
    requests: int
    resident: int  # bytes


def steps(options: Options) -> int:
    return 1


def measure(options: Options, step: Step) -> list[Memory]:
    database = fill_usual(options.folder / "memory.db")
    last = QUICK_REQUESTS if options.quick else LATE_REQUESTS
    command = [sys.executable, "-m", "bench.memory", str(database), str(EARLY_REQUESTS), str(last)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    step("memory")
    return [Memory(*map(int, line.split())) for line in done.stdout.splitlines()]


def serve(database: Path, marks: list[int]) -> None:
    """Create, append, get, list and delete, so that the file does not grow."""
    from .inprocess import Gateway

    use(database, "off")
    gateway = Gateway()
    served = 0
    message = {"role": "user", "content": TEXTS[0]}

    def send(method: str, path: str, body: object = None) -> str:
        nonlocal served
        served += 1
        answer = gateway.send(method, path, json.dumps(body).encode() if body else None)
        if served in marks:
            print(served, _resident(), flush=True)
        return answer

    read = ids(database, READ_PROJECT)
    for id in read:  # so that SQLite's page cache is as full as it will be
        send("GET", f"{CONVERSATIONS}/{id}")
    for id in cycle(read):
        created = json.loads(
            send("POST", CONVERSATIONS, {"project_id": CREATE_PROJECT, "title": "One"})
        )
        place = f"{CONVERSATIONS}/{created['id']}"
        send("POST", f"{place}/messages", message)
        send("GET", f"{CONVERSATIONS}/{id}")
        send("GET", f"{CONVERSATIONS}/{id}/messages")
        send("GET", f"{CONVERSATIONS}?project_id={READ_PROJECT}&limit=10")
        send("GET", f"/projects/{READ_PROJECT}/conversations")
        send("DELETE", place)
        if served > max(marks):
            return


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def section(found: list[Memory]) -> Section:
    early, late = found[0], found[-1]
    return Section(
        "Memory",
        "Resident memory of one process that creates, appends, gets, lists and deletes.",
        ["requests", "MB"],
        [[f"{each.requests:,}", f"{each.resident / 1e6:.1f}"] for each in found],
        {"memory: growth": late.resident / early.resident},
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]), [int(mark) for mark in sys.argv[2:]])
