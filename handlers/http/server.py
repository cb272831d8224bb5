"""The server of `chalice local`: many connections, one request at a time.

Chalice gives each connection a thread. Threads that work at once pass Python's lock around, and
sqlite3 lets go of it at each row: together they read a third of what one of them reads alone. So
one thread, the leader, waits for all connections and answers whoever asks. If a request has to
wait, its thread stays with it and another one leads (the pattern is called Leader/Followers; see
Schmidt et al., Pattern-Oriented Software Architecture, volume 2).
"""

import selectors
import sys
import threading
from contextlib import suppress
from typing import Any

from chalice.local import ChaliceRequestHandler, HTTPServer

from .local import Leader

TICK = 0.02  # seconds; a request that was there at the last one already takes long


class Connection(ChaliceRequestHandler):
    """A client's connection, which answers when it is told that there is a request."""

    # Head and body are written apart; Nagle's algorithm holds the second back until the client's
    # delayed acknowledgement: 43 ms for each request on a connection, against 0.14 ms.
    disable_nagle_algorithm = True
    # Written together they are one packet: a fifth more requests a second.
    wbufsize = -1
    close_connection = False
    has_more = False

    def setup(self) -> None:
        super().setup()
        self.connection.setblocking(True)  # elsewhere than on Linux it is as the server's socket

    def handle(self) -> None:
        """Nothing yet."""

    def finish(self) -> None:
        """Not yet."""

    def log_request(self, *_: object) -> None:
        """The app does, as JSON and with the request's id."""

    def answer(self) -> None:
        """Answer a request. `close_connection` then tells whether it was the last, and `has_more`
        whether the next one is here, perhaps read together with this one."""
        try:
            self.handle_one_request()
            self.has_more = not self.close_connection and self._has_more()
        except Exception:
            self.close_connection, self.has_more = True, False
            self.server.handle_error(self.request, self.client_address)

    def _has_more(self) -> bool:
        self.connection.setblocking(False)
        try:
            return bool(self.rfile.peek())
        finally:
            self.connection.setblocking(True)

    def close(self) -> None:
        with suppress(OSError):  # a client who left does not take what is still to be sent
            super().finish()
        self.rfile.close()


class LocalServer(HTTPServer):
    """What `chalice local` serves with."""

    # Clients that find the queue full wait a second for TCP to try again: with 100 at once and a
    # queue of 5, Python's default, the slowest waited 1.7 s; now 0.3.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], connection: Any) -> None:
        super().__init__(address, connection)
        self.socket.setblocking(False)  # a client may be gone before it is accepted
        # The connections that wait for a request, and the socket on which new ones come in. One
        # that is being answered stays among them while its thread leads: nobody looks.
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self.socket, selectors.EVENT_READ)
        self._with_more: list[Connection] = []  # whose next request has been read already
        self._answering: Connection | None = None  # by the leader
        self._turn = 0
        self._changing = threading.Lock()  # the leader, or what it is doing
        self._stopping = threading.Event()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Watch over the leaders until `shutdown`, for which an idle one looks every
        `poll_interval` seconds."""
        self._poll_interval = poll_interval
        self._appoint()
        before = (0, 0.0)
        while not self._stopping.wait(TICK):
            with self._changing:
                turn, worked = now = self._turn, self._leader.processor_time()
                # One that computes goes on: two at once would only hinder each other.
                if turn == before[0] and worked - before[1] < TICK / 4:
                    self._depose()
                before = now
        self._leader.join()

    def shutdown(self) -> None:
        self._stopping.set()

    def server_close(self) -> None:
        super().server_close()
        for waiting in list(self._waiting.get_map().values()):
            if waiting.data is not None:
                self._close(waiting.data)
        self._waiting.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a new connection."""
        connection = self.RequestHandlerClass(request, client_address, self)
        self._waiting.register(request, selectors.EVENT_READ, connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # that is a client who left
            super().handle_error(request, client_address)

    def _lead(self) -> None:
        while not self._stopping.is_set():
            ready = self._waiting.select(0 if self._with_more else self._poll_interval)
            # One request of each, in turn.
            for connection in dict.fromkeys([*self._with_more, *(key.data for key, _ in ready)]):
                if connection is None:
                    self._handle_request_noblock()
                elif not self._answer(connection):
                    return

    def _answer(self, connection: Connection) -> bool:
        """Returns whether this thread still leads."""
        if connection in self._with_more:
            self._with_more.remove(connection)
        self._answering = connection
        self._turn += 1
        connection.answer()
        with self._changing:
            leads = self._leader is threading.current_thread()
            if leads:
                self._answering = None
        if not leads:
            self._stay_with(connection)
        elif connection.close_connection:
            self._waiting.unregister(connection.request)
            self._close(connection)
        elif connection.has_more:
            self._with_more.append(connection)
        return leads

    def _stay_with(self, connection: Connection) -> None:
        """What is left to do for a thread that was deposed."""
        while connection.has_more:
            connection.answer()
        if connection.close_connection:
            self._close(connection)
        else:
            self._waiting.register(connection.request, selectors.EVENT_READ, connection)

    def _close(self, connection: Connection) -> None:
        connection.close()
        self.shutdown_request(connection.request)

    def _make_way(self) -> None:
        """What `make_way` does in a leader."""
        with self._changing:
            if self._leader is threading.current_thread():
                self._depose()

    def _depose(self) -> None:
        """Leave the leader alone with its request, if it has one, and let another thread lead."""
        if self._answering is not None:
            self._waiting.unregister(self._answering.request)
            self._answering = None
            self._appoint()

    def _appoint(self) -> None:
        self._leader = Leader(self._lead, self._make_way)
        self._leader.start()
