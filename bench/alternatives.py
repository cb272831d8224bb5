"""What people pick instead, in process and with the same durability (`contenders.py` has them)."""

import json
import subprocess
import sys
from statistics import median
from typing import NamedTuple

from .options import Options, Section, Step
from .server import ROOT

CALLS = 1000  # of each operation, a round
OTHERS = ("SQLiteSession", "SQLChatMessageHistory")


class Contest(NamedTuple):
    """Median microseconds of each store, one dictionary a round."""

    operation: str
    rounds: list[dict[str, float]]

    def typical(self, name: str) -> float:
        return median(each[name] for each in self.rounds)

    def ratio(self, name: str) -> float:
        """How many times as long as ours the other one takes."""
        return median(each[name] / each["ours"] for each in self.rounds)


def steps(options: Options) -> int:
    return 1


def measure(options: Options, step: Step) -> list[Contest]:
    arguments = [str(options.folder), str(options.rounds), str(options.scaled(CALLS))]
    # langchain-community warns that it is no longer maintained.
    python = [sys.executable, "-W", "ignore::DeprecationWarning"]
    command = [*python, "-m", "bench.contenders", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    rounds: dict[str, list[dict[str, float]]] = {}
    for line in done.stdout.splitlines():
        timed = json.loads(line)
        rounds.setdefault(timed["operation"], []).append(timed["microseconds"])
    step("alternatives")
    return [Contest(*each) for each in rounds.items()]


def section(found: list[Contest]) -> Section:
    return Section(
        "Alternatives: in process",
        "Median microseconds of `messages.append` and `messages.page_for`, of openai-agents' "
        "`SQLiteSession`, and of LangChain's `SQLChatMessageHistory`. Each has one history of 400 "
        "messages in a file of its own, and keeps its object and its connection. All use WAL and "
        "synchronous=FULL, set on each of their connections by a hook. `SQLiteSession` is "
        "asynchronous and hands each call to a thread. `SQLChatMessageHistory` can only read a "
        "whole history. The ratios are their times to ours.",
        ["operation", "ours µs", *(f"{name} µs" for name in OTHERS),
         *(f"ratio of {name}" for name in OTHERS)],
        [
            [
                each.operation,
                *(f"{each.typical(name):,.0f}" for name in ("ours", *OTHERS)),
                *(f"**{each.ratio(name):.1f}**" for name in OTHERS),
            ]
            for each in found
        ],
        {
            f"alternatives: {each.operation}, {name}": each.ratio(name)
            for each in found
            for name in OTHERS
        },
    )  # fmt: skip
