"""Server-sent events, as the HTML standard's section 9.2 writes them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic_core import to_json

EVENT_STREAM = "text/event-stream"
RETRY_MILLISECONDS = 500  # until a browser's EventSource asks again
HEAD = f"retry: {RETRY_MILLISECONDS}\n\n"  # of each response
SIGN_OF_LIFE = ":\n\n"  # a comment
# Else nginx, and others, keep the parts of a response until there are many.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class ServerSentEvent(NamedTuple):
    """One event. `data` is written as JSON, which has no line break."""

    id: int
    event: str
    data: Any


def encode_data(data: Iterable[Any]) -> str:
    """Events that have nothing but data, as a part of a response's body."""
    return "".join(f"data: {to_json(each).decode()}\n\n" for each in data)


def encode(events: Iterable[ServerSentEvent]) -> str:
    """These events, as a part of a response's body."""
    return "".join(
        f"id: {event.id}\nevent: {event.event}\ndata: {to_json(event.data).decode()}\n\n"
        for event in events
    )
