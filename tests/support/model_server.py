"""A model server in OpenAI's streaming format that fails on demand."""

import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

PATIENCE = 30  # seconds, longer than any test waits


class Asked(NamedTuple):
    """A request that arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: Any


class Reply:
    """An answer that a script writes. Each piece is sent at once."""

    def __init__(self, handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
        self._handler = handler
        self._closing = closing

    def begin(self, status: int = 200, media_type: str = "text/event-stream") -> Self:
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", media_type)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()
        return self

    def send(self, data: bytes) -> Self:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        return self

    def raw(self, data: bytes) -> Self:
        """Send what need not be HTTP."""
        self._handler.wfile.write(data)
        return self

    def event(self, data: object) -> Self:
        text = data if isinstance(data, str) else json.dumps(data)
        return self.send(f"data: {text}\n\n".encode())

    def delta(self, **delta: object) -> Self:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return self.event({"object": "chat.completion.chunk", "choices": [choice]})

    def say(self, *texts: str) -> Self:
        for text in texts:
            self.delta(content=text)
        return self

    def call(self, name: str, *pieces: str, id: str = "call_1", index: int = 0) -> Self:
        """Call a function, with its arguments in pieces."""
        first = {"index": index, "id": id, "type": "function"}
        self.delta(tool_calls=[{**first, "function": {"name": name, "arguments": ""}}])
        for piece in pieces:
            self.delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])
        return self

    def finish(self, reason: str) -> Self:
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        return self.event({"object": "chat.completion.chunk", "choices": [choice]})

    def usage(self, **usage: object) -> Self:
        return self.event({"object": "chat.completion.chunk", "choices": [], "usage": usage})

    def end(self) -> None:
        self.send(b"")

    def done(self) -> None:
        self.event("[DONE]").end()

    def stall(self, moment: threading.Event | None = None) -> Self:
        """Send nothing until `moment` is set, or for the rest of the test."""
        (moment or self._closing).wait(PATIENCE)
        return self

    def stall_for(self, seconds: float) -> Self:
        """Send nothing for so long, or for the rest of the test if that is shorter."""
        self._closing.wait(seconds)
        return self

    def repeat(self, data: bytes) -> Self:
        """Send `data` ten times a second for PATIENCE seconds."""
        for _ in range(10 * PATIENCE):
            self.send(data)
            self._closing.wait(0.1)
        return self

    def cut(self) -> None:
        """Reset the connection, as the kernel does when a process is killed."""
        linger_not = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self._handler.connection.close()


Script = Callable[[Reply], object]


def hello(reply: Reply) -> None:
    """Answer as OpenAI's servers do: with a role first, empty texts, and the usage."""
    reply.begin().delta(role="assistant", content="")
    reply.say("Hello", ", ").delta(content=None)
    reply.say("world").delta()
    reply.event({"choices": [], "usage": {"total_tokens": 7}})
    reply.done()


class ModelServer:
    """Runs `script` for each request and keeps the requests in `asked`."""

    def __init__(self) -> None:
        self.script: Script = hello
        self.asked: list[Asked] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.asked.append(Asked(self.path, headers, body))
                self.close_connection = True
                with suppress(ConnectionError):
                    server.script(Reply(self, server._closing))

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        return Handler


class Stepwise:
    """A model that says its next piece when it is told to, and `done` at the end."""

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces
        self._moments = [threading.Event() for _ in range(len(pieces) + 1)]
        self._is_cut = False
        self.was_hung_up_on = threading.Event()

    def __call__(self, reply: Reply) -> None:
        reply.begin()
        try:
            for piece, moment in zip(self._pieces, self._moments, strict=False):
                reply.stall(moment)
                if self._is_cut:
                    break
                reply.say(piece)
            reply.stall(self._moments[-1])
            reply.cut() if self._is_cut else reply.done()
        except OSError:
            self.was_hung_up_on.set()

    def step(self) -> None:
        next(moment for moment in self._moments if not moment.is_set()).set()

    def cut(self) -> None:
        """Break the answer off where it is."""
        self._is_cut = True
        self.finish()

    def finish(self) -> None:
        for moment in self._moments:
            moment.set()
