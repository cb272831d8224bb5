"""The code of an earlier commit, and what it and this code are asked to do in turns."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from pathlib import Path
from typing import Any, NamedTuple

from . import wrk
from .commits import written
from .options import Options
from .server import ROOT, Server
from .timing import Compared
from .wrk import EIGHT, Operation

WORKER = Path(__file__).with_name("worker.py")

# The names of measures, and of a kind of conversations in worker.py.
APPEND_OVER_HTTP, BYTES = "append, 8 connections", "bytes of an append"
PLAIN = "plain"


class Side(NamedTuple):
    """A file, and this checkout or the earlier one, which has its schema."""

    database: Path
    checkout: Path


def checkout(cache: Path, commit: str) -> Path:
    """The folder with the files of a commit."""
    folder = cache / f"commit-{commit}"
    if not folder.exists():
        unfinished = folder.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=-1)
        subprocess.run(["tar", "x"], cwd=unfinished, check=True, input=archive.stdout)
        unfinished.rename(folder)
    return folder


class Worker:
    """A process that runs one checkout's code in itself. It answers one question after another."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, question: str, *arguments: Any) -> Any:
        """What the function of `worker.py` with that name returns."""
        pipes = self._process
        assert pipes.stdin
        assert pipes.stdout
        print(json.dumps([question, *arguments]), file=pipes.stdin, flush=True)
        return json.loads(pipes.stdout.readline())


@contextmanager
def working(checkout: Path) -> Iterator[Worker]:
    # `-P`: what the worker imports comes from the checkout, and nothing from its own folder.
    process = subprocess.Popen(
        [sys.executable, "-P", str(WORKER)],
        cwd=checkout,
        env={**environ, "PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Worker(process)
        assert process.stdin
        process.stdin.close()  # then it ends


def in_turns(
    name: str, workers: list[Worker], question: tuple[str, str, int], times: int
) -> Compared:
    """What ours and the earlier one answer, so many times."""

    def both() -> tuple[float, float]:
        ours, earlier = (worker.ask(*question) for worker in workers)
        return ours, earlier

    for _ in range(3):  # statements are prepared, and caches filled
        both()
    return Compared(name, [both() for _ in range(times)])


def appends_over_http(
    kind: str,
    servers: list[Server],
    paths: list[list[str]],
    options: Options,
    texts: list[str],
    seconds: int,
) -> list[Compared]:
    """Microseconds and bytes of an append over HTTP. The texts are appended in turn."""
    bodies = [{"role": "user", "content": text} for text in texts]

    def run(to: Server, paths: list[str]) -> tuple[float, float]:
        before = written(to)
        append = Operation("append", "POST", paths, bodies=bodies)
        result = wrk.send(to, append, EIGHT, options.folder, seconds)
        return 1e6 / result.rate, (written(to) - before) / result.requests

    # In the first round the log reaches its usual size.
    rounds = [list(map(run, servers, paths)) for _ in range(1 + options.rounds)][1:]
    return [
        Compared(f"{name}, {kind}", [(ours[at], earlier[at]) for ours, earlier in rounds])
        for at, name in enumerate((APPEND_OVER_HTTP, BYTES))
    ]
