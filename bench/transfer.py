"""Import and export: conversations a second, and the memory that the command takes at most."""

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from . import transfer_files
from .data import Batch, fill, project
from .options import Options, Section, Step

CONVERSATIONS = 10_000
LARGE_BYTES = 36_000_000  # of one conversation: such a one was seen
ZIP_BYTES = 1_000_000_000
EXPORTED = 100_000
POLL_SECONDS = 0.02
ROOT = Path(__file__).parent.parent
FIRST, AGAIN = "10,000 conversations of 20 messages", "the same again"
LARGE, ZIP, EXPORT = "one conversation of 36 MB", "a zip of 1 GB, a dry run", "export of 100,000"


class Run(NamedTuple):
    """A run of the command."""

    name: str
    conversations: int
    bytes: int  # that were read or written
    seconds: float
    peak_bytes: int


def steps(options: Options) -> int:
    return 5


def measure(options: Options, step: Step) -> list[Run]:
    cache, found = options.cache, []

    def run(name: str, file: Path, conversations: int, database: Path, *command: str) -> None:
        seconds, peak = _run(database, *command)
        found.append(Run(name, conversations, transfer_files.size_in(file), seconds, peak))
        step(name)

    count = options.scaled(CONVERSATIONS)
    file = transfer_files.make(cache / f"chatgpt-{count}.json", count)
    each = file.stat().st_size / count
    database = options.folder / "imported.db"
    for name in (FIRST, AGAIN):
        run(name, file, count, database, "import", str(file))
    messages = int(LARGE_BYTES / each * transfer_files.MESSAGES)
    large = transfer_files.make(cache / "chatgpt-large.json", 1, messages)
    run(LARGE, large, 1, options.folder / "large.db", "import", str(large))
    count = options.scaled(int(ZIP_BYTES / each))
    archive = transfer_files.make_zip(cache / f"chatgpt-{count}.zip", count)
    run(ZIP, archive, count, options.folder / "zip.db", "import", str(archive), "--dry-run")
    count = options.scaled(EXPORTED)
    filled, exported = options.folder / "filled.db", options.folder / "exported.jsonl"
    fill(filled, Batch([project(1)], [None], count, 20))
    seconds, peak = _run(filled, "export", str(exported))
    found.append(Run(EXPORT, count, exported.stat().st_size, seconds, peak))
    step(EXPORT)
    return found


def _run(database: Path, *command: str) -> tuple[float, int]:
    """The seconds that a command takes, and its greatest size in memory, with its processes'."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "db", *command],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{database}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peaks: dict[str, int] = {}
    while process.poll() is None:
        # What `wait4` tells would have the size of this process in it.
        for pid in _with_children(process.pid):
            with suppress(OSError):  # it has ended
                status = Path(f"/proc/{pid}/status").read_text()
                for size in re.findall(r"VmHWM:\s+(\d+) kB", status):
                    peaks[pid] = int(size) * 1024
        time.sleep(POLL_SECONDS)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return time.perf_counter() - began, sum(peaks.values())


def _with_children(pid: int) -> list[str]:
    with suppress(OSError):
        return [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def section(found: list[Run]) -> Section:
    measured = {}
    for each in found:
        measured[f"transfer: {each.name}, a second"] = each.conversations / each.seconds
        measured[f"transfer: {each.name}, MB"] = each.peak_bytes / 1e6
    return Section(
        "Import and export",
        "`python -m db import` of exports in ChatGPT's shape into a new SQLite file, and `export` "
        "as jsonl. The seconds have the start of the command, half a second. The memory is that of "
        "the process that reads and of the one that stores.",
        ["", "conversations", "MB", "seconds", "conversations/s", "peak MB"],
        [
            [
                each.name,
                f"{each.conversations:,}",
                f"{each.bytes / 1e6:,.0f}",
                f"{each.seconds:,.1f}",
                f"**{each.conversations / each.seconds:,.0f}**",
                f"**{each.peak_bytes / 1e6:,.0f}**",
            ]
            for each in found
        ],
        measured,
    )
