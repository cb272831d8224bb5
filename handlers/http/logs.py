"""The log: one JSON object a line on standard error. It has no key, no title and no message."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache

# Made once: `json.dumps` makes an encoder for each call with options.
_encode = json.JSONEncoder(ensure_ascii=False).encode
log = logging.getLogger("confab")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record.created), "level": record.levelname}
        if request_id := record.__dict__.get("request_id"):
            line["request_id"] = request_id
        line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


_handler = logging.StreamHandler(sys.stderr)
_handler.setFormatter(JsonLines())


def configure(level: str) -> None:
    """Set up the `confab` logger, apart from the root logger, which Lambda and Chalice use."""
    log.setLevel(level)
    log.propagate = False
    log.addHandler(_handler)


def log_request(request_id: str, method: str, route: str, status: int, seconds: float) -> None:
    """Write the line of one request.

    It goes straight to the log's stream: to make a LogRecord takes 25 µs, and the rest of the
    middleware 20.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    # No value here has a character that JSON would escape.
    _handler.stream.write(
        f'{{"time": "{_time(time.time())}", "level": "INFO", "request_id": "{request_id}", '
        f'"method": "{method}", "route": "{route}", "status": {status}, '
        f'"ms": {seconds * 1000:.2f}}}\n'
    )


def _time(seconds: float) -> str:
    return f"{_date(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(1)
def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
