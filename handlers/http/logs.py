"""The log: one JSON object a line on standard error. Never a key, a title or a message in it."""

import json
import logging
import sys
import time
from datetime import UTC, datetime

# Made once: json.dumps makes an encoder for each call that wants anything special.
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
    """Set up the `confab` logger; apart from the root's, which Lambda and Chalice use."""
    log.setLevel(level)
    log.propagate = False
    log.addHandler(_handler)


def log_request(request_id: str, method: str, route: str, status: int, seconds: float) -> None:
    """The line of one request. Written straight to the log's stream: a LogRecord takes longer to
    make than the rest of the middleware takes to run, 25 µs against 20."""
    if not log.isEnabledFor(logging.INFO):
        return
    line = {
        "time": _time(time.time()),
        "level": "INFO",
        "request_id": request_id,
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    _handler.stream.write(_encode(line) + "\n")


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
