"""Time stamps and ids: RFC 3339 text and UUIDv7. Both sort as strings."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

DAY_SECONDS = 86_400
BEFORE_ALL_IDS = "/"  # less than any id
AFTER_ALL_IDS = "g"  # greater than any id
AFTER_ALL_TIMES = "9999"  # greater than any time, also where a database sorts by a locale

_lock = threading.Lock()
_newest = 0
_RANDOM_BITS = 74
_LARGEST_STEP = (1 << 58) - 1  # 131,072 such steps, on average, take the time of a millisecond


def now() -> str:
    """The time as RFC 3339 text in UTC with milliseconds, such as `2026-11-21T20:22:08.904Z`."""
    return _text(datetime.now(UTC))


def ago(seconds: float) -> str:
    """The time that many seconds before `now()`, in the same form."""
    return _text(datetime.now(UTC) - timedelta(seconds=seconds))


def age(moment: str) -> float:
    """The seconds that have passed since a moment in that form."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def time_of(id: str) -> str:
    """The time at which a UUIDv7 was made, in the same form."""
    return moment_of(int(id[:8] + id[9:13], 16))


def moment_of(milliseconds: int) -> str:
    """The time so many milliseconds after the beginning of 1970, in the same form.

    An import asks for hundreds of thousands. By a `datetime` each takes 1.3 µs, and so 0.4.
    """
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{_minute(minutes)}:{rest / 1000:06.3f}Z"


@lru_cache(1024)
def _minute(minutes: int) -> str:
    return datetime.fromtimestamp(minutes * 60, UTC).isoformat(timespec="minutes")[:16]


def first_id_at(moment: str) -> str:
    """The smallest UUIDv7 of a moment, which need not be one that was made."""
    milliseconds = int(datetime.fromisoformat(moment).timestamp() * 1000)
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7000-8000-000000000000"


def plus(moment: str, seconds: float) -> str:
    """The time that many seconds after a moment in that form."""
    return _text(datetime.fromisoformat(moment) + timedelta(seconds=seconds))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def new_id(after: str | None = None) -> str:
    """A UUIDv7 (RFC 9562), greater than `after` and than every id made here without one.

    Milliseconds and 74 random bits form one number. If it would not grow, it is counted up (RFC
    9562, section 6.2, method 2): by a random number, so that two processes that count from the same
    id do not make the same ones, nor one that was made behind it and deleted. So ids sort by age,
    also when many are made within one millisecond, when the clock goes back, and, with `after`,
    when another machine's clock is ahead.
    """
    global _newest
    fresh = (time.time_ns() // 1_000_000 << _RANDOM_BITS) | (
        int.from_bytes(os.urandom(10), "big") >> 6
    )
    floor = _number(after) if after else 0
    with _lock:
        _newest = max(fresh, _newest + 1 + (fresh & _LARGEST_STEP))
        # `floor` is not kept: a fast clock elsewhere must not advance all ids.
        number = max(_newest, floor + 1 + (fresh & _LARGEST_STEP))
    high = number >> 74 << 16 | 7 << 12 | number >> 62 & 0xFFF  # time, version, 12 bits
    low = 1 << 63 | number & (1 << 62) - 1  # the variant, 62 bits
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def advance_ids(id: str | None) -> None:
    """Let all ids that are made here from now on be greater than this one."""
    global _newest
    if id is not None:
        with _lock:
            _newest = max(_newest, _number(id))


def _number(id: str) -> int:
    """The 122 bits that carry information: time and randomness, without version and variant."""
    value = int(id.replace("-", ""), 16)
    return (value >> 80) << _RANDOM_BITS | (value >> 64 & 0xFFF) << 62 | value & (1 << 62) - 1
