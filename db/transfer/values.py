"""Values of foreign JSON: times, and what the store cannot hold."""

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from .parsed import Unreadable

MAX_SECONDS = 1e11  # a greater number is of milliseconds
REPLACEMENT = "\ufffd"
# What has to be looked for in JSON that is read: escapes of NUL, and halves of a surrogate pair.
# Almost no conversation has one, so its strings are not looked at one by one. The expression begins
# with `\u`, for which Python looks fast: 189 MB take 0.06 s, and 6 s if it begins otherwise.
# It takes an escaped backslash before a `u` for an escape, so that is looked for, too.
ESCAPED_BACKSLASH = r"\\u"
_SUSPICIOUS = re.compile(
    r"\\u(?:0000|[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F]))"
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def milliseconds(value: Any) -> int | None:
    """A time as whole milliseconds since 1970, from any form that exports have, or None.

    That is a number of seconds or milliseconds, RFC 3339 text, or MongoDB's `{"$date": …}`.
    """
    if value is None:
        return None
    if value.__class__ is float and 0 <= value <= MAX_SECONDS:  # as most are
        return round(value * 1000)
    if isinstance(value, dict):
        value = value.get("$date", value.get("$numberLong"))
        return milliseconds(value)
    if isinstance(value, str):
        try:
            value = float(value)  # first, since Python takes 1712011012345 for a day of 1712
        except ValueError:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                return None
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:  # noqa: PLR0124
        return None
    if abs(value) <= MAX_SECONDS:
        value *= 1000
    return max(0, round(value)) if abs(value) < 1e16 else None


def cleaned(value: Any, text: str, counts: Counter[str]) -> Any:
    """The value that was read from `text`, with U+FFFD for what PostgreSQL or UTF-8 cannot hold."""
    if "\0" in text or ESCAPED_BACKSLASH in text or _SUSPICIOUS.search(text):
        return _cleaned(value, counts)
    return value


def _cleaned(value: Any, counts: Counter[str]) -> Any:
    """Without recursion, since conversations may be nested thousands deep."""
    root = [value]
    containers: list[Any] = [root]
    while containers:
        container = containers.pop()
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, it in list(items):
            if isinstance(it, str):
                container[key] = _clean_text(it, counts)
            elif isinstance(it, dict | list):
                containers.append(it)
        if isinstance(container, dict):
            for key in [key for key in container if _UNSTORABLE.search(key)]:
                container[_clean_text(key, counts)] = container.pop(key)
    return root[0]


def _clean_text(text: str, counts: Counter[str]) -> str:
    clean, count = _UNSTORABLE.subn(REPLACEMENT, text)
    counts["cleaned"] += count
    return clean


def json_text(value: Any) -> str:
    """As `json_of`, which takes 3 µs for the metadata of a message, and this 0.7.

    Raises Unreadable for what is nested so deep that no answer could have it: these put it into
    some more lists and objects.
    """
    try:
        return to_json([[[[[[[[value]]]]]]]], inf_nan_mode="null")[8:-8].decode()
    except ValueError:
        raise Unreadable("it has a value that is nested too deep") from None
