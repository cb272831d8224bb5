"""The server of `chalice local`: many connections, one request at a time.

Chalice gives each connection a thread. Threads that work at once pass Python's lock around, and
sqlite3 lets go of it at each row: together they read a third of what one of them reads alone. So
one thread, the leader, waits for all connections and answers whoever asks. If a request has to
wait, its thread stays with it and another one leads (the pattern is called Leader/Followers; see
Schmidt et al., Pattern-Oriented Software Architecture, volume 2).
"""

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http.client import responses
from wsgiref.handlers import format_date_time

import h11

from .gateway import READ_AT_MOST, Answer, Gateway
from .local import Leader, make_way
from .logs import log

TICK = 0.02  # seconds; a request that was there at the last one already takes long
POLL = 0.5  # seconds until an idle leader looks whether to stop
# Clients that find the queue full wait a second for TCP to try again: with 100 at once and a queue
# of 5, Python's default, the slowest waited 1.7 s; now 0.3.
QUEUE = 128
AT_ONCE = 1 << 18  # bytes
MAX_HEAD = 1 << 16  # bytes
AT_MOST_NOW = getattr(socket, "MSG_DONTWAIT", 0)  # Windows has none, and waits for slow readers


class Connection:
    """A client's connection: bytes in, requests, answers, bytes out."""

    def __init__(self, accepted: socket.socket, gateway: Gateway) -> None:
        accepted.setblocking(True)  # elsewhere than on Linux it is as the listening one
        self.socket = accepted
        self._gateway = gateway
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: h11.Request
        self._body: bytearray
        self.is_open = True
        self.has_request = False  # all of it

    def receive(self) -> None:
        """Take in what has come. A slow sender's request is not there until its end is."""
        self._http.receive_data(self.socket.recv(AT_ONCE))
        self._look()

    def answer(self) -> None:
        """Answer the request; then there may be another one, which was sent together with it."""
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
                        if len(self._body) < READ_AT_MOST:
                            self._body += data
                    case h11.EndOfMessage():
                        self.has_request = True
                    case h11.ConnectionClosed():
                        self.is_open = False
                        return
                    case _:  # there is more to come
                        if self._http.they_are_waiting_for_100_continue:
                            self._go_ahead()
                        return
        except h11.RemoteProtocolError as error:
            self.is_open = False
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = json.dumps({"message": f"{error}."}).encode()
                length = ("Content-Length", str(len(body)))
                headers = [("Content-Type", "application/json"), length, ("Connection", "close")]
                self._send(Answer(error.error_status_hint, headers, body))

    def _go_ahead(self) -> None:
        told = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
        self.socket.sendall(told or b"")

    def _send(self, answer: Answer) -> None:
        head = h11.Response(
            status_code=answer.status,
            headers=[("Date", _date(int(time.time()))), *answer.headers],
            reason=responses.get(answer.status, ""),
        )
        events = (head, h11.Data(data=answer.body), h11.EndOfMessage())
        whole = b"".join(self._http.send(event) or b"" for event in events)
        try:
            sent = self.socket.send(whole, AT_MOST_NOW)
        except BlockingIOError:
            sent = 0
        if sent < len(whole):  # the client takes its time to read
            make_way()
            self.socket.sendall(memoryview(whole)[sent:])


@lru_cache(1)
def _date(seconds: int) -> str:
    return format_date_time(seconds)


class LocalServer:
    """What `chalice local` serves with; `gateway` makes the one that answers."""

    def __init__(self, address: tuple[str, int], gateway: Callable[[], Gateway]) -> None:
        self.socket = socket.create_server(address, backlog=QUEUE)
        self.socket.setblocking(False)  # a client may be gone before it is accepted
        # Nagle's algorithm holds the end of an answer back until the client's delayed
        # acknowledgement: 43 ms for a request on an open connection, against 0.14 ms. Connections
        # inherit this.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._gateway = gateway()
        # The connections that wait for a request, and the socket on which new ones come in. One
        # that is being answered stays among them while its thread leads: nobody looks.
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self.socket, selectors.EVENT_READ)
        self._with_more: list[Connection] = []  # whose next request is here already
        self._answering: Connection | None = None  # by the leader
        self._turn = 0
        self._changing = threading.Lock()  # the leader, or what it is doing
        self._stopping = threading.Event()

    def serve_forever(self) -> None:
        """Watch over the leaders until `shutdown`."""
        with self._changing:
            self._appoint()
        before = (0, 0.0)
        while not self._stopping.wait(TICK):
            with self._changing:
                turn, worked = now = self._turn, self._leader.processor_time()
                # One that computes goes on: two at once would only hinder each other.
                if turn == before[0] and worked - before[1] < TICK / 4:
                    self._depose()
                before = now
        self._leader.join(2 * POLL)

    def shutdown(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        """After `serve_forever` has ended."""
        for waiting in list(self._waiting.get_map().values()):
            if waiting.data is not None:
                waiting.data.socket.close()
        self._waiting.close()
        self.socket.close()

    def _lead(self) -> None:
        with self._changing:
            pass  # until the one before has been deposed
        while not self._stopping.is_set():
            ready = self._waiting.select(0 if self._with_more else POLL)
            # One request of each, in turn.
            for connection in dict.fromkeys([*self._with_more, *(key.data for key, _ in ready)]):
                if connection is None:
                    self._accept()
                elif not self._serve(connection):
                    return

    def _accept(self) -> None:
        try:
            accepted, _ = self.socket.accept()
        except (BlockingIOError, ConnectionError):  # the client is gone
            return
        except OSError:  # there is no file descriptor left; the client waits until one is
            time.sleep(TICK)
            return
        connection = Connection(accepted, self._gateway)
        self._waiting.register(accepted, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection) -> bool:
        """Returns whether this thread still leads."""
        if connection in self._with_more:
            self._with_more.remove(connection)
        self._answering = connection
        self._turn += 1
        _go_on(connection)
        with self._changing:
            leads = self._leader is threading.current_thread()
            if leads:
                self._answering = None
        if not leads:
            self._stay_with(connection)
        elif not connection.is_open:
            self._waiting.unregister(connection.socket)
            connection.socket.close()
        elif connection.has_request:
            self._with_more.append(connection)
        return leads

    def _stay_with(self, connection: Connection) -> None:
        """What is left to do for a thread that was deposed."""
        while connection.has_request:
            _go_on(connection)
        if connection.is_open and not self._stopping.is_set():
            self._waiting.register(connection.socket, selectors.EVENT_READ, connection)
        else:
            connection.socket.close()

    def _make_way(self) -> None:
        """What `make_way` does in a leader."""
        with self._changing:
            if self._leader is threading.current_thread():
                self._depose()

    def _depose(self) -> None:
        """Leave the leader alone with its request, if it has one, and let another thread lead."""
        if self._answering is None:
            return
        with suppress(RuntimeError):  # no more threads can be had, so everybody waits
            self._appoint()
            self._waiting.unregister(self._answering.socket)
            self._answering = None

    def _appoint(self) -> None:
        leader = Leader(self._lead, self._make_way)
        leader.start()
        self._leader = leader


def _go_on(connection: Connection) -> None:
    """Answer the request that is there, or else take in what has come and answer that."""
    try:
        if not connection.has_request:
            connection.receive()
        if connection.has_request:
            connection.answer()
    except ConnectionError:  # the client has left
        connection.is_open = connection.has_request = False
    except Exception:
        connection.is_open = connection.has_request = False
        log.exception("A connection was closed")
