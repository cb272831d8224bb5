"""A client that reads a response as its parts arrive."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Self

from .processes import PATIENCE
from .readers import Reader


class Live:
    """One request whose response a thread reads. `reader` knows what was told so far."""

    def __init__(self, port: int, method: str, path: str, body: Any = None, **headers: str) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Content-Type"] = "application/json"
        self.connection.request(method, path, None if body is None else json.dumps(body), named)
        self.response: HTTPResponse = self.connection.getresponse()
        self.parts: list[tuple[float, bytes]] = []  # when each came, by time.monotonic
        self.reader = Reader()
        self._told = 0
        self.has_ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError, AttributeError, HTTPException):  # the test has hung up
            while part := self.response.read1(65536):
                self.parts.append((time.monotonic(), part))
        self.has_ended.set()

    @property
    def body(self) -> bytes:
        return b"".join(part for _, part in self.parts)

    def texts(self) -> list[tuple[Any, str]]:
        """The content and the status of each message that it was told of, whole events only."""
        body = self.body
        whole = body[: body.rfind(b"\n\n") + 2] if b"\n\n" in body else b""
        self.reader.receive(whole[self._told :])
        self._told = len(whole)
        return [*self.reader.texts.values()]

    def wait_for(self, *texts: tuple[Any, str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.texts() != [*texts]:
            assert time.monotonic() < deadline, self.texts()
            time.sleep(0.005)

    def wait_for_body(self, happens: Callable[[bytes], bool]) -> bytes:
        """The body so far, as soon as it is as it should be."""
        deadline = time.monotonic() + PATIENCE
        while not happens(body := self.body):
            assert time.monotonic() < deadline, body
            time.sleep(0.005)
        return body

    def end(self) -> bytes:
        """The body, when the server has ended it."""
        assert self.has_ended.wait(PATIENCE)
        return self.body

    def hang_up(self, reset: bool = False) -> None:
        sock = self.connection.sock
        if sock is None:
            return
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):  # the thread ends, and a reset is sent by the close
            sock.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        self.has_ended.wait(PATIENCE)
        self.response.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.hang_up()
