"""The client of a model: of any server that speaks OpenAI's streaming `/chat/completions`."""

import json
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from db.chat_messages import ChatMessage
from db.chat_parts import Call
from db.settings import settings

from ..tracing import switch

# The client's names for the moments at which it has a connection, without and with TLS.
CONNECTED = ("connection.connect_tcp.complete", "connection.start_tls.complete")
NOT_A_CHUNK = "The model's server answered something that is not a chat chunk."
TIMEOUT = "timeout"
TOKENS = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}


class ModelError(Exception):
    """The model gave no answer, or not all of it. `str(error)` says why, in a sentence.

    `kind` says it in a word, for a span.
    """

    def __init__(self, reason: str, kind: str = "bad_answer") -> None:
        super().__init__(reason)
        self.kind = kind


class Options(NamedTuple):
    """What a request may ask of a model. The names and values are OpenAI's; None is not sent."""

    model: str | None = None  # instead of CHAT_MODEL
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None
    response_format: dict[str, Any] | None = None


class End(NamedTuple):
    """What the model's server says about a whole answer."""

    reason: str = "stop"  # why it ended: "stop", "length", "content_filter", "tool_calls"
    usage: dict[str, Any] | None = None  # of tokens, as the server counts them


Piece = str | Call | End


class Line:
    """The connection to a model, which another thread may end."""

    def __init__(self) -> None:
        self.is_hung_up = False  # nobody wants the answer any more
        self._connection: Any = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Learn from the client what the connection is, as soon as there is one."""
        if event in CONNECTED:
            self._connection = info["return_value"].get_extra_info("socket")
            if self.is_hung_up:
                self.cut()

    def hang_up(self) -> None:
        self.is_hung_up = True
        self.cut()

    def cut(self) -> None:
        if self._connection is not None:
            with suppress(OSError):  # it has ended by itself
                self._connection.shutdown(socket.SHUT_RDWR)


def ask(history: Sequence[ChatMessage], options: Options, line: Line) -> Generator[Piece]:
    """The answer to a conversation, piece by piece as it arrives, then the calls of tools, then
    its end.

    Raises ModelError at any point. What was yielded before is good.
    """
    if not history:
        raise ModelError("There is no message that a model could be told.")
    headers: dict[str, str] = {}
    answer = _Answer()
    with _in_span(options.model or settings().chat_model, headers, line, answer):
        yield from _ask(history, options, line, headers, answer)


def _ask(
    history: Sequence[ChatMessage],
    options: Options,
    line: Line,
    headers: dict[str, str],
    answer: "_Answer",
) -> Generator[Piece]:
    # Cold start: 52 ms, and most functions never ask a model.
    import httpx
    from httpx_sse import SSEError, connect_sse

    chosen = settings()
    deadline = time.monotonic() + chosen.chat_timeout
    if chosen.chat_api_key is not None:
        headers["Authorization"] = f"Bearer {chosen.chat_api_key.get_secret_value()}"
    request = {
        **{name: value for name, value in options._asdict().items() if value is not None},
        "model": options.model or chosen.chat_model,
        "messages": history,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    url = f"{str(chosen.chat_base_url).rstrip('/')}/chat/completions"
    try:
        with (
            _cut_at(deadline, line),
            connect_sse(
                _http(),
                "POST",
                url,
                json=request,
                headers=headers,
                timeout=chosen.chat_timeout,
                extensions={"trace": line.trace},
            ) as source,
        ):
            if source.response.status_code != 200:
                status = source.response.status_code
                raise ModelError(f"The model's server answered {status}.", str(status))
            for event in source.iter_sse():
                if event.data == "[DONE]":
                    yield from answer.calls()
                    yield answer.end
                    return
                if text := answer.add(event.data):
                    yield text
    except httpx.TimeoutException:
        reason = f"The model was silent for {chosen.chat_timeout:g} seconds."
        raise ModelError(reason, TIMEOUT) from None
    except (httpx.HTTPError, httpx.InvalidURL, SSEError) as error:
        if time.monotonic() < deadline:
            # All but the system's errors quote: the key that cannot be sent as a header, a line of
            # the answer, or the URL.
            kind = type(error).__name__
            why = error if isinstance(error, httpx.NetworkError) else kind
            raise ModelError(f"The connection to the model failed: {why}.", kind) from error
    if time.monotonic() < deadline:
        raise ModelError("The model's answer was cut off.", "cut_off")
    raise ModelError(f"The model took more than {chosen.chat_timeout:g} seconds.", TIMEOUT)


@contextmanager
def _in_span(model: str, headers: dict[str, str], line: Line, answer: "_Answer") -> Iterator[None]:
    """A span of the call, by OpenTelemetry's conventions for generative AI. `headers` tell it."""
    if (spans := switch.spans) is None:
        yield
        return
    has: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",  # whose API it is. Whose model it is, nobody says
        "gen_ai.request.model": model,
    }
    with suppress(ValueError):  # if the URL is none, the call will say so
        url = urlsplit(str(settings().chat_base_url))
        has["server.address"] = url.hostname or ""
        has["server.port"] = url.port or (443 if url.scheme == "https" else 80)
    span = spans.of_call(f"chat {model}", has, switch.current.get(), headers)
    try:
        yield
    except ModelError as error:
        if not line.is_hung_up:  # else whoever asked has ended it
            spans.fail(span, error.kind)
        raise
    finally:
        for name, count in answer.tokens():
            span.set_attribute(name, count)
        span.end()


@cache
def _http() -> Any:
    """One client for all requests, since its TLS context takes 28 ms to make. It keeps no
    connection: the server may have closed that, and a question must not be lost for it.
    """
    # Cold start: 52 ms, as above.
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.Client(limits=limits)


@contextmanager
def _cut_at(deadline: float, line: Line) -> Iterator[None]:
    """End the connection at that time, whatever it is doing.

    The client's time-out begins anew with each byte, and a server that keeps the connection open
    sends comments for as long as it thinks.
    """
    timer = threading.Timer(deadline - time.monotonic(), line.cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Answer:
    """What the chunks of an answer add up to."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, str]] = {}  # by their places in the answer
        self.end = End()

    def tokens(self) -> Iterator[tuple[str, int]]:
        """What the server has counted, by the names that a span has for it."""
        for told, name in TOKENS.items():
            if isinstance(count := (self.end.usage or {}).get(told), int):
                yield name, count

    def add(self, data: str) -> str:
        """Take in a chunk, and return the text that it has. Raises ModelError."""
        if not data:  # by the standard this is not an event, but a new id or time to reconnect
            return ""
        try:
            chunk = json.loads(data)
            if chunk.get("error"):
                raise ModelError("The model's server reported an error in mid-answer.")
            if isinstance(usage := chunk.get("usage"), dict):
                self.end = self.end._replace(usage=usage)
            texts = [self._take_choice(choice) for choice in chunk["choices"][:1]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ModelError(NOT_A_CHUNK) from None
        return "".join(texts)

    def _take_choice(self, choice: dict[str, Any]) -> str:
        if isinstance(reason := choice.get("finish_reason"), str):
            self.end = self.end._replace(reason=reason)
        return self._take(choice["delta"])

    def _take(self, delta: dict[str, Any]) -> str:
        for piece in delta.get("tool_calls") or ():
            function = piece.get("function") or {}
            index = piece.get("index", len(self._calls))  # some servers send a call at once
            found = [piece.get("id"), function.get("name"), function.get("arguments")]
            if not isinstance(index, int) or not all(isinstance(it, str | None) for it in found):
                raise TypeError
            id, name, arguments = found
            call = self._calls.get(index)
            if call is None or (id and call["id"] and id != call["id"]):
                # Some servers give each call the same place.
                index = index if call is None else len(self._calls)
                call = self._calls[index] = {"id": "", "name": "", "arguments": ""}
            call["id"] = id or call["id"]
            call["name"] = name or call["name"]
            call["arguments"] += arguments or ""
        text = delta.get("content") or delta.get("refusal")
        if not isinstance(text, str | None):
            raise TypeError
        return text or ""

    def calls(self) -> Iterator[Call]:
        """The calls that were made, when the answer is whole. A call without an id gets one.

        Raises ModelError if one has no name.
        """
        for _, call in sorted(self._calls.items()):
            if not call["name"]:
                raise ModelError(NOT_A_CHUNK)
            call["id"] = call["id"] or f"call_{uuid4().hex}"
            call["arguments"] = call["arguments"] or "{}"
            yield Call(**call)
