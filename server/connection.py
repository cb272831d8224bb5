"""A client's connection: bytes in, requests, responses, bytes out. llhttp parses the requests."""

import json
import socket
import time
from collections import deque
from contextlib import suppress
from functools import lru_cache
from http.client import responses
from typing import NamedTuple
from wsgiref.handlers import format_date_time

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from .gateway import MAX_KEPT_BYTES, GatewayRequest, GatewayResponse

RECEIVE_BYTES = 1 << 18  # taken from the socket at a time
MAX_HEAD_BYTES = 1 << 16
MAX_DISCARDED_BYTES = 10_000_000  # of a body that has been refused
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Whole(NamedTuple):
    """A request that is there to its end, and whether another one may follow its response."""

    request: GatewayRequest
    keeps_alive: bool


class Connection:
    """The server's end of one connection. It never waits for the client.

    Requests that were sent together are answered one after another.
    """

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self.is_open = True
        self._parser = HttpRequestParser(self)
        self._requests: deque[_Whole] = deque()
        self._unsent = memoryview(b"")
        self._is_last = False  # close the connection when all is sent
        self._refusal: GatewayResponse | None = None  # follows the requests, and is the last
        self._discarded: int | None = None  # bytes that came after the last response
        self._head_bytes = 0
        self._expects_continue = False
        self.on_message_begin()

    @property
    def request(self) -> GatewayRequest | None:
        """The request that is to be answered next, if it is there to its end."""
        return self._requests[0].request if self._requests else None

    @property
    def is_sending(self) -> bool:
        """Whether the client has to read before more can be sent."""
        return len(self._unsent) > 0

    def receive(self) -> None:
        """Take in what has come, unless there is a request to be answered."""
        if self._requests:
            return
        try:
            received = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the client has left
            self.is_open = False
            return
        if self._discarded is not None:
            self._discarded += len(received)
            self.is_open = len(received) > 0 and self._discarded < MAX_DISCARDED_BYTES
        elif not received:
            self.is_open = False
        else:
            self._parse(received)

    def respond(self, response: GatewayResponse) -> None:
        """Send the response to the request."""
        keeps_alive = self._requests.popleft().keeps_alive and not self._is_last
        self._send(response, keeps_alive)
        self._send_refusal()

    def flush(self) -> None:
        """Send as much as the system takes."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # the client has left
            self.is_open = False
            return
        if self._is_last:
            self._end()
        else:
            self._send_refusal()

    def _end(self) -> None:
        """Close after the last response. A client that still sends has to read the response first:
        if a socket is closed before all is read from it, the client gets a reset instead.
        """
        self._requests.clear()
        if not self._has_begun:
            self.is_open = False
            return
        self._discarded = 0
        with suppress(OSError):  # the client has left
            self.socket.shutdown(socket.SHUT_WR)

    def _send(self, response: GatewayResponse, keeps_alive: bool) -> None:
        self._is_last = not keeps_alive
        named = [("Date", _date(int(time.time()))), *response.headers]
        if not keeps_alive:
            named.append(("Connection", "close"))
        lines = [f"{name}: {value}" for name, value in named]
        head = "\r\n".join(
            [f"HTTP/1.1 {response.status} {responses.get(response.status, '')}", *lines]
        )
        if head.count("\n") != len(lines) or head.count("\r") != len(lines):
            raise ValueError("A header of the response has a line break.")
        self._unsent = memoryview(head.encode("latin-1") + b"\r\n\r\n" + response.body)
        self.flush()

    # --- Parsing

    def _parse(self, received: bytes) -> None:
        try:
            self._parser.feed_data(received)
        except HttpParserUpgrade:  # we stay with HTTP/1.1, and what follows is something else
            if self._requests:
                self._requests[-1] = self._requests[-1]._replace(keeps_alive=False)
        except HttpParserError as error:
            self._refuse(400, str(error) or "The request is not HTTP")
        if self._has_begun and self._is_in_head:
            self._head_bytes += 0 if self._requests else len(received)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "The head of the request is too large")
        elif self._expects_continue and not self._requests:
            self._expects_continue = False
            self._unsent = memoryview(CONTINUE)
            self.flush()
        self._send_refusal()

    def _refuse(self, status: int, message: str) -> None:
        """Answer something that is not a request of ours, after the requests before it."""
        body = json.dumps({"message": f"{message}."}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        self._refusal = self._refusal or GatewayResponse(status, headers, body)

    def _send_refusal(self) -> None:
        if self._refusal is not None and not self._requests and not self.is_sending:
            self._has_begun = True
            self._send(self._refusal, keeps_alive=False)
            self._refusal = None

    # What llhttp found. These have the names that httptools gives them.

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._is_in_head = True
        self._expects_continue = False
        self._has_begun = False

    def on_url(self, part: bytes) -> None:
        self._has_begun = True
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # a trailer must not pass for a header
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        self._method = self._parser.get_method().decode("latin-1")
        self._expects_continue = self._headers.get("expect", "").lower() == "100-continue"

    def on_body(self, part: bytes) -> None:
        if len(self._body) > MAX_KEPT_BYTES:
            return
        self._body += part
        if len(self._body) > MAX_KEPT_BYTES:  # the app refuses it, and the rest is not read
            self._requests.append(_Whole(self._whole(), keeps_alive=False))

    def on_message_complete(self) -> None:
        self._has_begun = self._expects_continue = False
        version = self._parser.get_http_version()
        if version == "0.9" or (version == "1.1" and "host" not in self._headers):
            self._refuse(400, "An HTTP/1.1 request needs a Host header")  # RFC 9112, 3.2
        elif len(self._body) <= MAX_KEPT_BYTES and self._refusal is None:
            keeps_alive = self._parser.should_keep_alive()
            self._requests.append(_Whole(self._whole(), keeps_alive))

    def _whole(self) -> GatewayRequest:
        target = self._target.decode("latin-1")
        return GatewayRequest(self._method, target, self._headers, bytes(self._body))


@lru_cache(1)
def _date(seconds: int) -> str:
    return format_date_time(seconds)
