"""A client's connection: bytes in, requests, responses, bytes out. HTTP/1.1 itself is h11's."""

import json
import socket
import time
from functools import lru_cache
from http.client import responses
from wsgiref.handlers import format_date_time

import h11

from handlers.http import waiting

from .gateway import MAX_KEPT_BYTES, Gateway, GatewayResponse

RECEIVE_BYTES = 1 << 18  # taken from the socket at a time
MAX_HEAD_BYTES = 1 << 16
DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)  # Windows has none, and waits for slow readers


class Connection:
    """The server's end of one connection. It answers one request at a time."""

    def __init__(self, accepted: socket.socket, gateway: Gateway) -> None:
        accepted.setblocking(True)  # outside of Linux it inherits the listening socket's mode
        self.socket = accepted
        self._gateway = gateway
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._request: h11.Request
        self._body: bytearray
        self.is_open = True
        self.has_request = False  # a whole one

    def receive(self) -> None:
        """Take in what has come. A request is there when its end is."""
        self._http.receive_data(self.socket.recv(RECEIVE_BYTES))
        self._look()

    def answer(self) -> None:
        """Answer the request. There may be another one then, which was sent together with it."""
        method = self._request.method.decode()
        headers: dict[str, str] = {}
        for name, value in self._request.headers:
            headers.setdefault(name.decode(), value.decode("latin-1"))
        target = self._request.target.decode()
        self._send(self._gateway.answer(method, target, headers, bytes(self._body)))
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
            self._look()
        else:
            self.is_open = self.has_request = False

    def _look(self) -> None:
        self.has_request = False
        try:
            while not self.has_request:
                match self._http.next_event():
                    case h11.Request() as request:
                        self._request, self._body = request, bytearray()
                    case h11.Data(data=data):
                        if len(self._body) < MAX_KEPT_BYTES:
                            self._body += data
                    case h11.EndOfMessage():
                        self.has_request = True
                    case h11.ConnectionClosed():
                        self.is_open = False
                        return
                    case _:  # the request is not whole yet
                        if self._http.they_are_waiting_for_100_continue:
                            self._go_ahead()
                        return
        except h11.RemoteProtocolError as error:
            self.is_open = False
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = json.dumps({"message": f"{error}."}).encode()
                length = ("Content-Length", str(len(body)))
                headers = [("Content-Type", "application/json"), length, ("Connection", "close")]
                self._send(GatewayResponse(error.error_status_hint, headers, body))

    def _go_ahead(self) -> None:
        told = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
        self.socket.sendall(told or b"")

    def _send(self, response: GatewayResponse) -> None:
        head = h11.Response(
            status_code=response.status,
            headers=[("Date", _date(int(time.time()))), *response.headers],
            reason=responses.get(response.status, ""),
        )
        events = (head, h11.Data(data=response.body), h11.EndOfMessage())
        whole = b"".join(self._http.send(event) or b"" for event in events)
        try:
            sent = self.socket.send(whole, DONT_WAIT)
        except BlockingIOError:
            sent = 0
        if sent < len(whole):  # the client is slow to read
            if (make_way := waiting.make_way.get()) is not None:
                make_way()
            self.socket.sendall(memoryview(whole)[sent:])


@lru_cache(1)
def _date(seconds: int) -> str:
    return format_date_time(seconds)
