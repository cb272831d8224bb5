"""The log: one JSON object a line on standard error. It has no key, no title and no message."""

import json
import logging
import sys
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache

from db.engine.database import DRIVER_ERRORS, cause_of
from db.errors import StoreError

# Made once: `json.dumps` makes an encoder for each call with options.
_encode = json.JSONEncoder(ensure_ascii=False).encode
log = logging.getLogger("confab")
PACKAGES = {"builtins", "db", "handlers", "server"}  # whose errors may have texts in the log


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record.created), "level": record.levelname}
        if request_id := record.__dict__.get("request_id"):
            line["request_id"] = request_id
        line["message"] = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            line["exception"] = traceback_of(record.exc_info[1])
        return _encode(line)


def traceback_of(error: BaseException) -> str:
    """The tracebacks of an error and of those that led to it. They show code, and no values."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{traceback_of(cause)}\n\nThen:\n\n" if cause else ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}Traceback (most recent call last):\n{frames}{words_of(error)}"


def words_of(error: BaseException) -> str:
    """The class of an error, and its text unless this may quote a message, a title or a key.

    Pydantic quotes the value that is invalid, `int` the text that is no number, a dictionary the
    key that is missing, a driver a row, Peewee the values of a query that finds nothing, a client
    of HTTP the header that it cannot send or read, and a StoreError what its caller has sent. So
    only the rest of our errors and of Python's own have their texts.
    """
    name = type(error).__qualname__
    if isinstance(error, DRIVER_ERRORS) or hasattr(error, "sqlstate"):  # psycopg's own
        return f"{name}: {cause_of(error)}"
    if isinstance(error, (ValueError, LookupError, Warning, StoreError)):
        return name
    origins = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    is_known = isinstance(error, OSError) or origins <= PACKAGES
    return f"{name}: {error}" if is_known else name


_handler = logging.StreamHandler(sys.stderr)
_handler.setFormatter(JsonLines())


class _OneAMinute(logging.Filter):
    """Lets one record pass, and then none for a minute."""

    _from = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if (now := time.monotonic()) < self._from:
            return False
        self._from = now + 60
        return True


# While the collector is away, OpenTelemetry says so with each attempt. It quotes no request.
_seldom = logging.StreamHandler(sys.stderr)
_seldom.setFormatter(JsonLines())
_seldom.addFilter(_OneAMinute())


def configure(level: str) -> None:
    """Set up our loggers, apart from the root logger, which Lambda and Chalice use."""
    log.setLevel(level)
    for logger, handler in ((log, _handler), (logging.getLogger("opentelemetry"), _seldom)):
        logger.propagate = False
        logger.addHandler(handler)
    for name in ("peewee", "httpx", "httpcore", "opentelemetry"):
        # Where the root logger is at DEBUG, as by `chalice --debug`, they log the values of each
        # query, the model's URL, and the headers.
        logging.getLogger(name).setLevel(logging.WARNING)


def log_request(request_id: str, method: str, route: str, started: float, status: int) -> None:
    """Write the line of one request, which was `started` at a moment of `time.perf_counter`.

    It goes straight to the log's stream: to make a LogRecord takes 25 µs, and the rest of the
    middleware 20.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    # No value here has a character that JSON would escape.
    line = (
        f'{{"time": "{_time(time.time())}", "level": "INFO", "request_id": "{request_id}", '
        f'"method": "{method}", "route": "{route}", "status": {status}, '
        f'"ms": {(time.perf_counter() - started) * 1000:.2f}}}\n'
    )
    with suppress(OSError):  # the log's disk is full, and what the request did is done
        _handler.stream.write(line)


def _time(seconds: float) -> str:
    return f"{_date(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(1)
def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
