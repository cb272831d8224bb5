"""The client of a model: of any server that speaks OpenAI's streaming `/chat/completions`."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from db.chat_messages import ChatMessage
from db.settings import settings

NOT_A_CHUNK = "The model's server answered something that is not a chat chunk."


class ModelError(Exception):
    """The model gave no answer, or not all of it. `str(error)` says why, in a sentence."""


def ask(history: Sequence[ChatMessage]) -> Iterator[str]:
    """The answer to a conversation, piece by piece as it arrives.

    Raises ModelError at any point. What was yielded before is good.
    """
    if not history:
        raise ModelError("There is no message that a model could be told.")
    # Cold start: 52 ms, and most functions never ask a model.
    import httpx
    from httpx_sse import SSEError, connect_sse

    chosen = settings()
    deadline = time.monotonic() + chosen.chat_timeout
    headers = {}
    if chosen.chat_api_key is not None:
        headers["Authorization"] = f"Bearer {chosen.chat_api_key.get_secret_value()}"
    request = {
        "model": chosen.chat_model,
        "messages": history,
        "stream": True,
    }
    url = f"{str(chosen.chat_base_url).rstrip('/')}/chat/completions"
    try:
        with (
            httpx.Client(timeout=chosen.chat_timeout) as client,
            connect_sse(client, "POST", url, json=request, headers=headers) as source,
            _cut_at(deadline, source.response),
        ):
            if source.response.status_code != 200:
                raise ModelError(f"The model's server answered {source.response.status_code}.")
            for event in source.iter_sse():
                if event.data == "[DONE]":
                    return
                yield from _text_of(event.data)
    except httpx.TimeoutException:
        raise ModelError(f"The model was silent for {chosen.chat_timeout:g} seconds.") from None
    except (httpx.HTTPError, httpx.InvalidURL, SSEError) as error:
        if time.monotonic() < deadline:
            raise ModelError(f"The connection to the model failed: {error}.") from error
    if time.monotonic() < deadline:
        raise ModelError("The model's answer was cut off.")
    raise ModelError(f"The model took more than {chosen.chat_timeout:g} seconds.")


@contextmanager
def _cut_at(deadline: float, response: Any) -> Iterator[None]:
    """End the connection at that time, whatever it is doing.

    The client's time-out begins anew with each byte, and a server that keeps the connection open
    sends comments for as long as it thinks.
    """
    connection = response.extensions["network_stream"].get_extra_info("socket")

    def cut() -> None:
        with suppress(OSError):  # it has ended by itself
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline - time.monotonic(), cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _text_of(data: str) -> Iterator[str]:
    """The text of one chunk, if it has some."""
    if not data:  # by the standard this is not an event, but a new id or time to reconnect
        return
    try:
        chunk = json.loads(data)
        if chunk.get("error"):
            raise ModelError("The model's server reported an error in mid-answer.")
        deltas = [choice["delta"].get("content") for choice in chunk["choices"][:1]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(NOT_A_CHUNK) from None
    for text in deltas:
        if not isinstance(text, str | None):
            raise ModelError(NOT_A_CHUNK)
        if text:
            yield text
