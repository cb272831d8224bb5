"""Asking a model: any server that speaks OpenAI's `/chat/completions`, streaming; or an echo."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from db.message import MessageRow
from db.settings import Settings, settings


class ModelError(Exception):
    """The model gave no answer, or not all of it; `str(error)` says why, in a sentence."""


def ask(history: Sequence[MessageRow]) -> Iterator[str]:
    """The answer to a conversation, piece by piece as it arrives. Raises ModelError at any point;
    what was yielded before is good."""
    if settings().chat_base_url is None:
        return _echo(history)
    return _openai(history, settings())


def _echo(history: Sequence[MessageRow]) -> Iterator[str]:
    content = history[-1].content
    if not isinstance(content, str):
        content = " ".join(str(part.get("text", "")) for part in content)
    words = content.split(" ")
    yield from (word + " " for word in words[:-1])
    yield words[-1]


def _openai(history: Sequence[MessageRow], chosen: Settings) -> Iterator[str]:
    # Imported here: most functions never ask a model, and each would pay 0.1 s at its cold start.
    import httpx
    from httpx_sse import SSEError, connect_sse

    deadline = time.monotonic() + chosen.chat_timeout
    headers = {}
    if chosen.chat_api_key is not None:
        headers["Authorization"] = f"Bearer {chosen.chat_api_key.get_secret_value()}"
    request = {
        "model": chosen.chat_model,
        "messages": [_as_sent(message) for message in history],
        "stream": True,
    }
    url = f"{str(chosen.chat_base_url).rstrip('/')}/chat/completions"
    try:
        with (
            httpx.Client(timeout=chosen.chat_timeout) as client,
            connect_sse(client, "POST", url, json=request, headers=headers) as source,
        ):
            if source.response.status_code != 200:
                raise ModelError(f"The model's server answered {source.response.status_code}.")
            for event in source.iter_sse():
                if event.data == "[DONE]":
                    return
                yield from _text_of(event.data)
                if time.monotonic() > deadline:
                    raise ModelError(f"The model took more than {chosen.chat_timeout:g} seconds.")
    except httpx.TimeoutException:
        raise ModelError(f"The model was silent for {chosen.chat_timeout:g} seconds.") from None
    except (httpx.HTTPError, SSEError) as error:
        raise ModelError(f"The connection to the model failed: {error}.") from error
    raise ModelError("The model's answer ended before its end.")


def _as_sent(message: MessageRow) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        sent["tool_call_id"] = (message.metadata or {}).get("tool_call_id", message.id)
    return sent


def _text_of(data: str) -> Iterator[str]:
    try:
        chunk = json.loads(data)
        if "error" in chunk:
            raise ModelError("The model's server reported an error in mid-answer.")
        deltas = [choice["delta"].get("content") for choice in chunk["choices"][:1]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError("The model's server answered something that is no chat chunk.") from None
    for text in deltas:
        if not isinstance(text, str | None):
            raise ModelError("The model's server answered something that is no chat chunk.")
        if text:
            yield text.replace("\0", "\ufffd")
