"""A client's connection: bytes in, requests, responses, bytes out. HTTP/1.1 itself is h11's."""

import json
import socket
import time
from contextlib import suppress
from functools import lru_cache
from http.client import responses
from wsgiref.handlers import format_date_time

import h11

from .gateway import MAX_KEPT_BYTES, GatewayRequest, GatewayResponse

RECEIVE_BYTES = 1 << 18  # taken from the socket at a time
MAX_HEAD_BYTES = 1 << 16
MAX_DISCARDED_BYTES = 10_000_000  # of a body that has been refused


class Connection:
    """The server's end of one connection. It never waits for the client.

    A connection has one request at a time. The next one is looked at when the response to the one
    before has been taken by the system.
    """

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head: h11.Request
        self._body: bytearray
        self._unsent = memoryview(b"")
        self._is_last = False  # close it when all is sent
        self._discarded: int | None = None  # bytes that came after the last response
        self.request: GatewayRequest | None = None  # a whole one that waits for its response
        self.is_open = True

    @property
    def is_sending(self) -> bool:
        """Whether the client has to read before more can be sent."""
        return len(self._unsent) > 0

    def receive(self) -> None:
        """Take in what has come. A request is there when its end is."""
        try:
            received = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the client has left
            self.is_open = False
            return
        if self._discarded is None:
            self._http.receive_data(received)
            self._look()
        else:
            self._discarded += len(received)
            self.is_open = len(received) > 0 and self._discarded < MAX_DISCARDED_BYTES

    def respond(self, response: GatewayResponse) -> None:
        """Send the response to the request. There may be another request then."""
        self.request = None
        self._send(response)

    def flush(self) -> None:
        """Send as much as the system takes. When all is sent, look for the next request."""
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
        elif self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
            self._look()

    def _end(self) -> None:
        """Close after the last response. A client that still sends has to read the response first:
        if a socket is closed before all is read from it, the client gets a reset instead.
        """
        if self._http.their_state is not h11.SEND_BODY:
            self.is_open = False
            return
        self._discarded = 0
        with suppress(OSError):  # the client has left
            self.socket.shutdown(socket.SHUT_WR)

    def _look(self) -> None:
        """Find out what has been received: a request, its end, or something that is not HTTP."""
        try:
            while self.request is None:
                match self._http.next_event():
                    case h11.Request() as head:
                        self._head, self._body = head, bytearray()
                    case h11.Data(data=data):
                        self._body += data
                        if len(self._body) > MAX_KEPT_BYTES:  # the app refuses it, unread
                            self._is_last = True
                            self.request = self._whole()
                    case h11.EndOfMessage():
                        self.request = self._whole()
                    case h11.ConnectionClosed():
                        self.is_open = False
                        return
                    case _:  # the request is not whole yet
                        if self._http.they_are_waiting_for_100_continue:
                            self._go_ahead()
                        return
        except h11.RemoteProtocolError as error:
            self._refuse(error)

    def _whole(self) -> GatewayRequest:
        headers: dict[str, str] = {}
        for name, value in self._head.headers:
            headers.setdefault(name.decode(), value.decode("latin-1"))
        method, target = self._head.method.decode(), self._head.target.decode()
        return GatewayRequest(method, target, headers, bytes(self._body))

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.is_open = False
            return
        body = json.dumps({"message": f"{error}."}).encode()
        length = ("Content-Length", str(len(body)))
        headers = [("Content-Type", "application/json"), length, ("Connection", "close")]
        self._is_last = True
        self._send(GatewayResponse(error.error_status_hint, headers, body))

    def _go_ahead(self) -> None:
        told = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
        self._unsent = memoryview(told or b"")
        self.flush()

    def _send(self, response: GatewayResponse) -> None:
        head = h11.Response(
            status_code=response.status,
            headers=[("Date", _date(int(time.time()))), *response.headers],
            reason=responses.get(response.status, ""),
        )
        events = (head, h11.Data(data=response.body), h11.EndOfMessage())
        self._unsent = memoryview(b"".join(self._http.send(event) or b"" for event in events))
        self._is_last = self._is_last or self._http.our_state is not h11.DONE
        self.flush()


@lru_cache(1)
def _date(seconds: int) -> str:
    return format_date_time(seconds)
