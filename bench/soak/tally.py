"""What a soak counts: acknowledged writes, their latency, and everything that went wrong."""

import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

RECOVERY_SECONDS = 5.0  # after a fault, until the latency counts as that of a quiet moment
SHOWN_SURPRISES = 20


class Samples:
    """Durations in seconds, with the moments at which they began."""

    def __init__(self) -> None:
        self.began, self.lasted = array("d"), array("d")

    def add(self, began: float) -> None:
        self.began.append(began)
        self.lasted.append(time.monotonic() - began)

    def since(self, moment: float) -> list[float]:
        return [took for began, took in self if began >= moment]

    def __iter__(self) -> Iterator[tuple[float, float]]:
        return zip(self.began, self.lasted, strict=True)

    def __len__(self) -> int:
        return len(self.began)


@dataclass
class Tally:
    writes: Samples = field(default_factory=Samples)  # until the acknowledgement, with all retries
    health: Samples = field(default_factory=Samples)
    acknowledged: Counter[str] = field(default_factory=Counter)  # by operation
    retried: Counter[str] = field(default_factory=Counter)  # by what came instead of an answer
    wrong: Counter[str] = field(default_factory=Counter)  # lost, doubled, …
    surprises: list[str] = field(default_factory=list)
    events: int = 0  # that followers were told
    compared: int = 0  # conversations that a follower has followed to the end
    kills: int = 0
    ended: int = 0  # times that the server ended by itself
    back_seconds: list[float] = field(default_factory=list)  # from SIGKILL to the first answer
    disturbed: list[tuple[str, float, float]] = field(default_factory=list)  # faults, begin and end
    # By the fault during which it happened: the health that was told, and the writes.
    told: dict[str, Counter[str]] = field(default_factory=dict)
    under_way: str = ""

    def note(self, kind: str, what: str) -> None:
        """Something is wrong with the server."""
        self.wrong[kind] += 1
        if len(self.surprises) < SHOWN_SURPRISES:
            self.surprises.append(f"{kind}: {what}")

    def during(self, what: str) -> None:
        if self.under_way:
            self.told.setdefault(self.under_way, Counter())[what] += 1

    @contextmanager
    def disturbance(self, name: str, is_told: bool = False) -> Iterator[None]:
        began = time.monotonic()
        if is_told:
            self.under_way = name
        try:
            yield
        finally:
            if is_told:
                self.under_way = ""
            self.disturbed.append((name, began, time.monotonic()))

    def quiet(self) -> list[float]:
        """The latencies of the writes that no fault can have touched."""
        windows = sorted((begin, end + RECOVERY_SECONDS) for _, begin, end in self.disturbed)
        found, index = [], 0
        for began, took in sorted(self.writes):
            while index < len(windows) and windows[index][1] < began:
                index += 1
            # A later window may end earlier; the list is short enough to look at all that remain.
            if not any(begin < began + took and began < end for begin, end in windows[index:]):
                found.append(took)
        return found

    @property
    def is_clean(self) -> bool:
        return not self.wrong
