"""A clock that a test can move."""

import time
from datetime import datetime, timedelta, tzinfo


class Clock:
    """A replacement for `datetime` and `time` in `db.clock`."""

    ahead = 0.0  # seconds

    def move(self, seconds: float) -> None:
        self.ahead += seconds

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) + timedelta(seconds=self.ahead)

    def fromisoformat(self, text: str) -> datetime:
        return datetime.fromisoformat(text)

    def fromtimestamp(self, seconds: float, zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(seconds, zone)

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)
