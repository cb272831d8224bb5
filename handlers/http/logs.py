"""The log: one JSON object a line on standard error. Never a key, a title or a message in it."""

import json
import logging
import sys
from datetime import UTC, datetime

# Made once: json.dumps makes an encoder for each call that wants anything special.
_encode = json.JSONEncoder(ensure_ascii=False).encode
FIELDS = ("request_id", "method", "route", "status", "ms")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
        }
        given = record.__dict__
        line.update((name, given[name]) for name in FIELDS if name in given)
        line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


def configure(level: str) -> logging.Logger:
    """The `confab` logger, set up once; apart from the root's, which Lambda and Chalice use."""
    log = logging.getLogger("confab")
    log.setLevel(level)
    log.propagate = False
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        log.addHandler(handler)
    return log
