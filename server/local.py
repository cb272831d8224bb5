"""The server of `chalice local`: many connections, one request at a time.

Chalice gives each connection a thread. Threads that work at the same time pass Python's lock
around, and sqlite3 lets go of it at each row: together they read a third of what one of them reads
alone. So one thread, the leader, waits for all connections and answers whoever asks. If a request
has to wait, its thread stays with it, and another thread leads. The pattern is called
Leader/Followers (Schmidt et al., Pattern-Oriented Software Architecture, volume 2).
"""

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from handlers.http import waiting
from handlers.http.logs import log

from .connection import Connection
from .gateway import Gateway

TICK_SECONDS = 0.02  # a request that was there at the tick before already takes long
POLL_SECONDS = 0.5  # until an idle leader looks whether to stop
# A client that finds the queue full waits a second before TCP tries again. With 100 clients at once
# and a queue of 5, Python's default, the slowest one waited 1.7 s. Now it waits 0.3 s.
QUEUE_CONNECTIONS = 128


class Leader(threading.Thread):
    """A thread that takes requests, until it has to stay with one of them."""

    def __init__(self, lead: Callable[[], None], make_way: Callable[[], None]) -> None:
        super().__init__(target=lead, name="leader", daemon=True)
        self._make_way = make_way
        self._clock: int | None = None

    def run(self) -> None:
        waiting.make_way.set(self._make_way)
        with suppress(AttributeError):  # macOS has no such clock
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        super().run()

    def processor_time(self) -> float:
        """Seconds of computing. 0 where the system does not tell, as if it only ever waited."""
        try:
            return 0.0 if self._clock is None else time.clock_gettime(self._clock)
        except OSError:  # the thread has ended
            return 0.0


class LocalServer:
    """What `chalice local` serves with. `gateway` makes the gateway that answers."""

    def __init__(self, address: tuple[str, int], gateway: Callable[[], Gateway]) -> None:
        self.socket = socket.create_server(address, backlog=QUEUE_CONNECTIONS)
        self.socket.setblocking(False)  # a client may be gone before it is accepted
        # Nagle's algorithm holds the end of a response back until the client's delayed
        # acknowledgement: a request on an open connection takes 43 ms with it, and 0.14 ms without.
        # Connections inherit this option.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._gateway = gateway()
        # The connections that wait for a request, and the socket on which new ones arrive. A
        # connection that is being answered stays among them while its thread leads, since nobody
        # looks meanwhile.
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self.socket, selectors.EVENT_READ)
        self._with_more: list[Connection] = []  # their next request is here already
        self._answering: Connection | None = None  # what the leader is answering
        self._turn = 0
        self._changing = threading.Lock()  # guards who leads, and what the leader is answering
        self._stopping = threading.Event()

    def serve_forever(self) -> None:
        """Watch over the leaders until `shutdown`."""
        with self._changing:
            self._appoint()
        before = (0, 0.0)
        while not self._stopping.wait(TICK_SECONDS):
            with self._changing:
                turn, worked = now = self._turn, self._leader.processor_time()
                # A thread that computes goes on: two at once would hinder each other.
                if turn == before[0] and worked - before[1] < TICK_SECONDS / 4:
                    self._depose()
                before = now
        self._leader.join(2 * POLL_SECONDS)

    def shutdown(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        """After `serve_forever` has ended."""
        for key in list(self._waiting.get_map().values()):
            if key.data is not None:
                key.data.socket.close()
        self._waiting.close()
        self.socket.close()

    def _lead(self) -> None:
        with self._changing:
            pass  # until the one before has been deposed
        while not self._stopping.is_set():
            ready = self._waiting.select(0 if self._with_more else POLL_SECONDS)
            # One request of each connection, in turn.
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
        except OSError:  # no file descriptor is free, and the client waits until one is
            time.sleep(TICK_SECONDS)
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
        """The request that the leader is answering will wait: let another thread lead."""
        with self._changing:
            if self._leader is threading.current_thread():
                self._depose()

    def _depose(self) -> None:
        """Leave the leader with its request, if it has one, and let another thread lead."""
        if self._answering is None:
            return
        with suppress(RuntimeError):  # there is no thread to be had, so everybody waits
            self._appoint()
            self._waiting.unregister(self._answering.socket)
            self._answering = None

    def _appoint(self) -> None:
        leader = Leader(self._lead, self._make_way)
        leader.start()
        self._leader = leader


def _go_on(connection: Connection) -> None:
    """Answer the request that is there. If there is none, take in what has come first."""
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
