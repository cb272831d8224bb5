"""Time calls in this process, in turns, so that what disturbs one of them disturbs all."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

Call = Callable[..., Any]
Block = Callable[[int], list[float]]  # does something that many times: the microseconds of each
BLOCKS = 20  # of each call, in turns


class Compared(NamedTuple):
    """What was measured of ours and of something else, one pair a round."""

    name: str
    pairs: list[tuple[float, float]]

    @property
    def ours(self) -> float:
        return median(ours for ours, _ in self.pairs)

    @property
    def other(self) -> float:
        return median(other for _, other in self.pairs)

    @property
    def ratio(self) -> float:
        return median(ours / other for ours, other in self.pairs)

    def row(self, digits: int = 0) -> list[str]:
        """The name, both values and their ratio, for a table."""
        values = (f"{value:,.{digits}f}" for value in (self.ours, self.other))
        return [self.name, *values, f"**{self.ratio:.2f}**"]


def microseconds(call: Call, times: int) -> list[float]:
    """How long each of that many calls took."""
    taken = []
    for _ in range(times):
        started = perf_counter_ns()
        call()
        taken.append((perf_counter_ns() - started) / 1000)
    return taken


def in_turns(calls: Mapping[str, Call], times: int) -> dict[str, float]:
    """The median microseconds of each call, each called that many times."""
    return blocks_in_turns(
        {name: partial(microseconds, call) for name, call in calls.items()}, times
    )


def blocks_in_turns(blocks: Mapping[str, Block], times: int) -> dict[str, float]:
    """The same for what times itself."""
    taken: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(BLOCKS):
        for name, block in blocks.items():
            taken[name] += block(max(1, times // BLOCKS))
    return {name: median(each) for name, each in taken.items()}
