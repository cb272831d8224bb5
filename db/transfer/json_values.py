"""Reading JSON and JSON lines one value at a time, whatever the size of the file.

A buffer slides over the file, and `raw_decode` reads a value from it. While the value is not whole,
the buffer is doubled. (`ijson` 3.6 with its C backend takes 1.2 s for 189 MB of conversations, and
this 0.9.) The text of a value is at hand, too, so what did not change need not be read.
"""

import codecs
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from .parsed import NotJson, Unreadable, as_object

CHUNK_BYTES = 1 << 20
MAX_VALUE_CHARACTERS = 1 << 28  # of one conversation
# A literal, number or escape that the end of the buffer may have cut.
MAX_CUT_CHARACTERS = 32
ENDS = {"[": "]", "{": "}"}
MAX_DEPTH = 20_000  # of conversations that are nested message in message

_SPACE = re.compile(r"[ \t\r\n]*")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Value(NamedTuple):
    """A value, and its JSON as it stands in the file."""

    value: Any
    text: str


class Reader:
    """The values of a file: those of an array, or of several lines, one by one.

    The list `conversations` of an object counts as an array, since Grok's and older exports of
    ChatGPT have all in one object.
    """

    def __init__(self, file: Readable, counts: Counter[str]) -> None:
        self._file = file
        self._counts = counts
        self._decode = json.JSONDecoder(strict=False, parse_constant=self._null).raw_decode
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._at = 0
        self._kept: int | None = None  # what stands from here on stays in the buffer
        self._is_over = False
        self._passed = 0  # characters

    def _null(self, name: str) -> None:
        """For NaN and Infinity, which are no JSON and which PostgreSQL refuses."""
        self._counts["cleaned"] += 1

    def values(self) -> Iterator[Value]:
        """Raises Unreadable at the first thing that is not JSON."""
        while char := self._peek():
            if char == "[":
                yield from self._array()
            elif char == "{":
                yield from self._object()
            else:
                raise Unreadable(f"it is not JSON: it begins with {char!r}")

    def _array(self) -> Iterator[Value]:
        self._take("[")
        if self._peek() == "]":
            self._take("]")
            return
        while True:
            yield self._value()
            if self._peek() == "]":
                self._take("]")
                return
            self._take(",")

    def _object(self) -> Iterator[Value]:
        """An object, or what is in its `conversations`."""
        if (whole := self._in_buffer()) is not None and "conversations" not in whole.value:
            self._at += len(whole.text)
            yield whole
            return
        self._kept = self._at
        found: dict[str, Any] = {}
        is_wrapper = False
        self._take("{")
        while self._peek() != "}":
            if found or is_wrapper:
                self._take(",")
            key = self._value().value
            self._take(":")
            if key == "conversations" and self._peek() == "[":
                items = self._array()
                first = next(items, None)
                # Such a list may also be one conversation, and its elements messages: ShareGPT.
                if first is not None and "from" not in as_object(first.value):
                    is_wrapper, self._kept = True, None
                    yield first
                    yield from items
                    continue
                found[key] = [each.value for each in (first, *items) if each is not None]
            else:
                found[str(key)] = self._value().value
        self._take("}")
        if not is_wrapper:
            text = self._buffer[self._kept : self._at]
            self._kept = None
            yield Value(found, text)

    def _in_buffer(self) -> Value | None:
        """The value that begins here, if it is whole in the buffer."""
        try:
            return self._decoded()
        except (ValueError, RecursionError):
            return None

    def _value(self) -> Value:
        self._peek()  # `raw_decode` does not pass over spaces
        while True:
            try:
                value = self._decoded()
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or (
                    error.pos >= len(self._buffer) - MAX_CUT_CHARACTERS
                )
                if self._is_over or not is_cut:
                    raise Unreadable(self._where("it is no JSON", error.pos)) from None
            except ValueError:
                raise Unreadable(self._where("a number is too long", self._at)) from None
            except RecursionError:
                raise Unreadable("it is nested too deep: export it without *recursive*") from None
            else:
                if self._at + len(value.text) < len(self._buffer) or self._is_over:
                    self._at += len(value.text)
                    return value
            if len(self._buffer) - self._at > MAX_VALUE_CHARACTERS:
                raise Unreadable(self._where("a conversation is too large", self._at))
            self._read_more()

    def _decoded(self) -> Value:
        try:
            value, end = self._decode(self._buffer, self._at)
        except RecursionError:
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(MAX_DEPTH)
            try:
                value, end = self._decode(self._buffer, self._at)
            finally:
                sys.setrecursionlimit(limit)
        return Value(value, self._buffer[self._at : end])

    def _take(self, char: str) -> None:
        if (found := self._peek()) != char:
            if not found:
                raise Unreadable("it ends in the middle: it was cut off")
            raise Unreadable(self._where(f"it is no JSON: {char!r} is missing", self._at))
        self._at += 1

    def _peek(self) -> str:
        """The next character that is no space, or "" at the end."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._is_over:
                return ""
            self._read_more()

    def _read_more(self) -> None:
        start = self._at if self._kept is None else self._kept
        self._buffer = self._buffer[start:]
        self._at -= start
        self._kept = None if self._kept is None else 0
        self._passed += start
        data = self._file.read(max(CHUNK_BYTES, len(self._buffer)))
        try:
            self._buffer += self._decoder.decode(data, final=not data)
        except UnicodeDecodeError:
            raise Unreadable("it is not UTF-8: save it as UTF-8") from None
        self._is_over = not data

    def _where(self, what: str, at: int) -> str:
        return f"{what}, at character {self._passed + at + 1:,}"


def check(file: Readable) -> None:
    """Read all of a file and see that it is UTF-8 and that its last value has its end.

    It takes a tenth of the time of reading the values. Raises Unreadable.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    first = last = ""
    is_over = False
    while not is_over:
        data = file.read(CHUNK_BYTES)
        is_over = not data
        try:
            text = decoder.decode(data, final=is_over)
        except UnicodeDecodeError:
            kind = Unreadable if first in ENDS else NotJson
            raise kind("it is not UTF-8: save it as UTF-8") from None
        if stripped := text.strip():
            first, last = first or stripped[0], stripped[-1]
    if first not in ENDS:
        raise NotJson(f"it is not JSON: it begins with {first!r}" if first else "it is empty")
    if last != ENDS[first]:
        raise Unreadable("it ends in the middle: it was cut off")
