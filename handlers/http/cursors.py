"""Cursors: where a list goes on, as opaque text that only the list understands which it is from."""

import base64
import json
import re
from binascii import Error as NotBase64
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from .problems import INVALID, Problem

_DIGEST_BYTES = 8
# What a row can be made of.
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Cursor(NamedTuple):
    """The place behind a row (`after`) or before it (`before`). `row` is what the list goes by."""

    direction: str
    row: str


def encode(asked: Mapping[str, Any], cursor: Cursor) -> str:
    """`asked` is all that makes this list another one than others: its sort and its filters."""
    text = f"{cursor.direction} {cursor.row}".encode()
    return base64.urlsafe_b64encode(_digest(asked) + text).decode().rstrip("=")


def decode(
    asked: Mapping[str, Any], text: str, row: str = UUID, parameter: str = "cursor"
) -> Cursor:
    """The cursor in a query's parameter. Its row has to match a pattern.

    Raises Problem 422 if it is not a cursor of this list.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        digest, place = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:].decode()
    except (NotBase64, ValueError):
        raise _invalid("must come from an answer of this list", parameter) from None
    if digest != _digest(asked):
        raise _invalid("belongs to a list with another sort or filter", parameter)
    direction, _, found = place.partition(" ")
    if direction not in ("after", "before") or not re.fullmatch(row, found, re.DOTALL):
        raise _invalid("must come from an answer of this list", parameter)
    return Cursor(direction, found)


def link(path: str, query: Any, relation: str, **place: Any) -> str:
    """The value of a `Link` to another page of a query, which has a `limit` (RFC 8288)."""
    given = query.model_dump(mode="json", exclude_unset=True, exclude={"cursor"})
    as_sent = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in {**given, **place, "limit": query.limit}.items()
    }
    return f'<{path}?{urlencode(as_sent, doseq=True, quote_via=quote)}>; rel="{relation}"'


def _digest(asked: Mapping[str, Any]) -> bytes:
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _invalid(message: str, parameter: str) -> Problem:
    error = {"loc": ["query", parameter], "msg": message, "type": "cursor"}
    detail = f"{parameter} {message}: begin at the first page and follow it from there."
    return Problem(INVALID, detail, errors=[error])
