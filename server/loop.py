"""The loop that serves: one thread waits for all connections and answers whoever asks.

Threads that work at the same time pass Python's lock around, and sqlite3 lets go of it at each row:
together they read a third of what one of them reads alone. So the loop answers requests one after
another. In each turn it answers those that are there: first the ones that read, then the ones that
write, with one commit for all of these (`db.engine.group_commit`). Their answers leave after it.

Two kinds of requests have a thread instead. One that may wait for something else than the database
(`waits=True` on its endpoint) has its own. If another process holds the lock of the file, one
thread waits for it with all requests that write. Meanwhile the loop goes on answering others.
"""

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from db import startup
from db.engine.database import database, keeps_connection, release, write_patience
from db.engine.group_commit import Group
from handlers.http.logs import log

from .connection import Connection
from .gateway import Gateway, GatewayResponse
from .threads import Threads

POLL_SECONDS = 0.5  # until an idle loop calls `on_turn` again
NO_FILE_SECONDS = 0.02  # until a loop without a free file descriptor accepts again
# A read may find the message of a silent writer, and finishes it. For this write it waits so long.
READER_PATIENCE_SECONDS = 0.05
GROUP_REQUESTS = 128  # in one commit, so that no answer waits too long
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Answered = tuple[Connection, GatewayResponse]


class Loop:
    """Serves the connections that arrive at `listening` until `stop`."""

    def __init__(
        self,
        listening: Iterable[socket.socket],
        gateway: Gateway,
        on_turn: Callable[[], object] = lambda: None,
    ) -> None:
        self._listening = list(listening)
        self._gateway = gateway
        self._on_turn = on_turn
        self._selector = selectors.DefaultSelector()
        for each in self._listening:
            each.setblocking(False)  # a client may be gone before it is accepted
            # Nagle's algorithm holds the end of a response back until the client's delayed
            # acknowledgement: a request on an open connection takes 43 ms with it, and 0.14 ms
            # without. Connections inherit this option.
            with suppress(OSError):  # not a TCP socket
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self._selector.register(each, selectors.EVENT_READ)
        # Threads write a byte to the one end to wake the loop at the other.
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._with_request: dict[Connection, None] = {}  # in the order of their requests
        self._answered: deque[Answered] = deque()  # by threads, to be sent
        self._threads = Threads("aside")
        self._aside = 0  # requests that threads are answering
        self._locked_out: list[Connection] | None = None  # the requests that a thread writes
        self._changing_locked_out = threading.Lock()
        self._is_stopping = False

    def stop(self) -> None:
        """Let `run` end when all that has been received is answered. Any thread may call this."""
        self._is_stopping = True
        self._wake()

    def run(self) -> None:
        keeps_connection.set(True)
        write_patience.set(READER_PATIENCE_SECONDS)
        while not self._is_stopping:
            self._turn(POLL_SECONDS)
        for each in self._listening:
            self._selector.unregister(each)
        self._receive_all()
        while self._with_request or self._aside or self._is_sending():
            self._turn(POLL_SECONDS)

    def close(self) -> None:
        """After `run` has ended."""
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.data.socket.close()
        self._selector.close()
        self._waker.close()
        self._woken.close()

    def _turn(self, patience: float) -> None:
        for key, events in self._selector.select(0 if self._with_request else patience):
            connection: Connection | None = key.data
            if connection is not None:
                is_writable = events & selectors.EVENT_WRITE
                self._do(connection, connection.flush if is_writable else connection.receive)
            elif key.fileobj is self._woken:
                self._send_answered()
            else:
                self._accept_all(key.fileobj)  # type: ignore[arg-type]
        self._answer()
        self._on_turn()

    def _accept_all(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except BlockingIOError:
                return
            except ConnectionError:  # the client is gone
                continue
            except OSError:  # no file descriptor is free, and the client waits until one is
                time.sleep(NO_FILE_SECONDS)
                return
            connection = Connection(accepted)
            self._selector.register(accepted, selectors.EVENT_READ, connection)
            self._do(connection, connection.receive)  # the first request is often there already

    def _do(self, connection: Connection, step: Callable[..., None], *arguments: object) -> None:
        """Take one step of a connection, and see what it needs next.

        An error ends this connection, and not the loop.
        """
        try:
            step(*arguments)
        except Exception:
            connection.is_open = False
            log.exception("A connection was closed")
        self._look_at(connection)

    def _receive_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            connection: Connection | None = key.data
            if connection is not None and connection.request is None and not connection.is_sending:
                self._do(connection, connection.receive)

    def _is_sending(self) -> bool:
        keys = self._selector.get_map().values()
        return any(key.data is not None and key.data.is_sending for key in keys)

    def _look_at(self, connection: Connection) -> None:
        """See what a connection needs next: to be closed, answered, written to or read from."""
        if not connection.is_open:
            self._with_request.pop(connection, None)
            self._selector.unregister(connection.socket)
            connection.socket.close()
            return
        wanted = selectors.EVENT_WRITE if connection.is_sending else selectors.EVENT_READ
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)
        if connection.request is not None and not connection.is_sending:
            self._with_request[connection] = None

    # --- Answering

    def _answer(self) -> None:
        """Answer one request of each connection that has one."""
        asking, self._with_request = self._with_request, {}
        writing: list[Connection] = []
        for connection in asking:
            request = connection.request
            assert request is not None  # noqa: S101 - that is why it is among them
            if _is_on_database_server() or self._gateway.waits(request):
                self._answer_aside(connection)
            elif request.method in SAFE_METHODS:
                self._send(connection, self._response(connection))
            else:
                writing.append(connection)
        for start in range(0, len(writing), GROUP_REQUESTS):
            self._write(writing[start : start + GROUP_REQUESTS])

    def _response(self, connection: Connection) -> GatewayResponse:
        request = connection.request
        assert request is not None  # noqa: S101
        try:
            return self._gateway.answer(request)
        except Exception as error:
            return self._gateway.failed(request, error)

    def _send(self, connection: Connection, response: GatewayResponse) -> None:
        self._do(connection, connection.respond, response)

    def _write(self, connections: list[Connection]) -> None:
        """Answer requests that write, with one commit. It does not wait for another process."""
        with self._changing_locked_out:
            if self._locked_out is not None:
                self._take_aside(connections)
                self._locked_out += connections
                return
        answered = self._write_together(connections, wait=False)
        if answered is not None:
            for connection, response in answered:
                self._send(connection, response)
            return
        self._locked_out = connections
        self._take_aside(connections)
        self._start(self._write_locked_out)

    def _write_locked_out(self) -> None:
        """What the thread does that waits for the lock."""
        while True:
            with self._changing_locked_out:
                connections, self._locked_out = self._locked_out or [], []
                if not connections:
                    self._locked_out = None
                    release()
                    return
            for start in range(0, len(connections), GROUP_REQUESTS):
                together = connections[start : start + GROUP_REQUESTS]
                self._hand_over(self._write_together(together, wait=True) or [])

    def _write_together(self, connections: list[Connection], wait: bool) -> list[Answered] | None:
        """The answers to requests whose writes were committed. None if the lock is taken."""
        answered: list[Answered] = []
        dependent: list[Answered] = []  # on the commit
        try:
            startup.open_once()
            group = Group(database.obj)
            if not group.begin(wait):
                return None
        except Exception as error:  # the database is away, or broken
            return self._failed([(each, None) for each in connections], error)
        try:
            for connection in connections:
                response, wrote = group.run(partial(self._response, connection))
                (dependent if wrote else answered).append((connection, response))
            if dependent:
                group.commit()
        except Exception as error:  # the commit failed
            dependent = self._failed(dependent, error)
        finally:
            group.end()
        return answered + dependent

    def _failed(
        self, answers: Iterable[tuple[Connection, GatewayResponse | None]], error: Exception
    ) -> list[Answered]:
        """The problems in the place of these answers: a 503 each, or a 500 if it is our fault."""
        return [
            (each, self._gateway.failed(each.request, error, instead_of))  # type: ignore[arg-type]
            for each, instead_of in answers
        ]

    # --- Threads

    def _answer_aside(self, connection: Connection) -> None:
        """Let a thread of its own answer the request."""

        def answer() -> None:
            self._hand_over([(connection, self._response(connection))])

        self._take_aside([connection])
        self._start(answer)

    def _take_aside(self, connections: list[Connection]) -> None:
        """Look at these connections again when they are answered."""
        for connection in connections:
            self._selector.unregister(connection.socket)
        self._aside += len(connections)

    def _start(self, work: Callable[[], None]) -> None:
        try:
            self._threads.run(work)
        except RuntimeError:  # there is no thread to be had, so everybody waits
            work()

    def _hand_over(self, answered: list[Answered]) -> None:
        """Give answers to the loop, which sends them."""
        self._answered.extend(answered)
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # it is awake already, or gone
            self._waker.send(b"!")

    def _send_answered(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._answered:
            connection, response = self._answered.popleft()
            self._aside -= 1
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            self._send(connection, response)


def _is_on_database_server() -> bool:
    """Whether the rows are on a database server: then each request waits, and needs a thread."""
    return database.obj is not None and database.obj.engine != "sqlite"
