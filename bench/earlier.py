"""The code before branches and side bars, and what both codes are asked to do in turns."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from pathlib import Path
from typing import Any

from .server import ROOT

COMMIT = "4821422"  # the last one without them
WORKER = Path(__file__).with_name("worker.py")


def checkout(cache: Path) -> Path:
    """The folder with the files of that commit."""
    folder = cache / f"commit-{COMMIT}"
    if not folder.exists():
        unfinished = folder.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, check=True, stdout=-1)
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
