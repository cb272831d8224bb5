"""Messages as a model is told them: in the shape of OpenAI's `/chat/completions`.

`chat_parts` says what each part means. Here, the messages of a path become a valid request. The
server of a model refuses a call without its result, and a result that does not stand behind its
call. So calls without results and results without calls are left out, and a result is told right
behind its call. A message of which nothing is left is left out, and so is one in progress.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .chat_parts import Call, Part, Result, as_sent, call_in, result_in, text_of
from .models import IN_PROGRESS, MessageRow

ChatMessage = dict[str, Any]


class Told(NamedTuple):
    """What a model is told, and which of the given rows it is made of, by their places."""

    message: ChatMessage
    rows: frozenset[int]
    # The first of its rows. For a result it is its call's first row, without which it is not told.
    at: int


@dataclass(slots=True, eq=False)
class _Said:
    """A message with content, or with calls and their results, or both."""

    role: str
    content: str | list[Part] | None
    row: int
    calls: list["_Called"] = field(default_factory=list)

    def told(self) -> Iterator[Told]:
        message: ChatMessage = {"role": self.role, "content": self.content}
        if self.calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id, name, arguments in (called.call for called in self.calls)
            ]
        yield Told(message, frozenset([self.row, *(it.row for it in self.calls)]), self.row)
        for it in self.calls:
            if it.answer is not None:
                text, row = it.answer
                answer = {"role": "tool", "content": text, "tool_call_id": it.call.id}
                yield Told(answer, frozenset([row]), self.row)


@dataclass(slots=True, eq=False)
class _Called:
    call: Call
    row: int
    answer: tuple[str, int] | None = None  # the result's text and row


@dataclass(slots=True, eq=False)
class _Answered:
    result: Result
    row: int


_Entry = _Said | _Called | _Answered


def told(rows: Sequence[MessageRow]) -> tuple[list[Told], set[int]]:
    """What a model is told of some rows, oldest first, and which rows have results without a call.

    The newest message of all is told even if it is an empty question: there must be one.
    """
    entries = [entry for at, row in enumerate(rows) for entry in _entries(row, at)]
    newest = len(rows) - 1
    if rows and _is_question(rows[-1]) and all(entry.row != newest for entry in entries):
        entries.append(_Said("user", "", newest))
    unmatched = _match(entries)
    return [it for said in _joined(entries) for it in said.told()], unmatched


def _is_question(row: MessageRow) -> bool:
    return row.role == "user" and row.status != IN_PROGRESS


def _match(entries: Iterable[_Entry]) -> set[int]:
    """Give the calls their results. Return the rows of the results that are left.

    Some models number the calls in each answer anew. So a result belongs to the last call before
    it that has its id.
    """
    waiting: dict[str, _Called] = {}
    unmatched: set[int] = set()
    for entry in entries:
        if isinstance(entry, _Called):
            waiting[entry.call.id] = entry
        elif isinstance(entry, _Answered):
            called = waiting.pop(entry.result.call_id, None)
            if called is None:
                unmatched.add(entry.row)
            else:
                called.answer = entry.result.text, entry.row
    return unmatched


def _joined(entries: Iterable[_Entry]) -> Iterator[_Said]:
    """What is said, oldest first. Calls in a row belong to what the assistant said just before."""
    said: _Said | None = None
    takes_calls = False
    for entry in entries:
        if isinstance(entry, _Said):
            if said is not None:
                yield said
            said, takes_calls = entry, entry.role == "assistant"
        elif isinstance(entry, _Answered):
            takes_calls = False
        elif entry.answer is not None:
            if said is None or not takes_calls:
                if said is not None:
                    yield said
                said, takes_calls = _Said("assistant", None, entry.row), True
            said.calls.append(entry)
    if said is not None:
        yield said


# --- One row


def _entries(row: MessageRow, at: int) -> Iterator[_Entry]:
    """What a row says, its calls and its results, in their order."""
    if row.status == IN_PROGRESS:
        return
    metadata = row.metadata or {}
    parts: list[Any] = [{"type": "text", "text": row.content}]
    if isinstance(row.content, list):
        parts = row.content
    if row.role == "tool":
        results = [result for part in parts if (result := result_in(part))]
        call_id = metadata.get("tool_call_id")
        if not results and isinstance(call_id, str):
            results = [Result(call_id, text_of(row.content))]
        yield from (_Answered(result, at) for result in results)
        return
    is_assistant = row.role == "assistant"
    if is_assistant and isinstance(calls := metadata.get("tool_calls"), list):
        parts = [*parts, *calls]
    content: list[Part] = []
    for part in parts:
        if is_assistant and (call := call_in(part)):
            yield from _said(row.role, content, at)
            yield _Called(call, at)
        elif result := result_in(part):
            yield from _said(row.role, content, at)
            yield _Answered(result, at)
        elif sent := as_sent(part, row.role):
            content.append(sent)
    yield from _said(row.role, content, at)


def _said(role: str, content: list[Part], at: int) -> Iterator[_Said]:
    """The content up to here, if there is any. It is taken out of the list."""
    parts = content.copy()
    content.clear()
    if any(part["type"] != "text" for part in parts):
        yield _Said(role, parts, at)
    else:
        text = " ".join(part["text"] for part in parts)
        if text.strip():
            yield _Said(role, text, at)
