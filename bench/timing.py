"""Timing of calls in this process, in turns, so that what disturbs one disturbs all."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter_ns
from typing import Any

Call = Callable[..., Any]
BLOCKS = 20


def microseconds(call: Call, times: int) -> list[float]:
    """How long each of that many calls took."""
    taken = []
    for _ in range(times):
        started = perf_counter_ns()
        call()
        taken.append((perf_counter_ns() - started) / 1000)
    return taken


def in_turns(calls: Mapping[str, Call], times: int) -> dict[str, float]:
    """The median microseconds of each call; their blocks alternate."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(BLOCKS):
        for name, call in calls.items():
            taken[name] += microseconds(call, max(1, times // BLOCKS))
    return {name: median(each) for name, each in taken.items()}
