"""The loop that serves: one thread waits for all connections and answers whoever asks.

Threads that work at the same time pass Python's lock around, and sqlite3 lets go of it at each row:
together they read a third of what one of them reads alone. So the loop answers requests one after
another. In each turn it answers those that are there: first the ones that read, then the ones that
write, with one commit for all of these (`db.engine.group_commit`). Their answers leave after it.

The loop waits for nothing but connections. A request that waits for a model has a thread. So has
one that takes long, such as a search, and one that reads, if others have locked the file. If they
write, one thread waits for their lock with all requests that write. With a database server, all
requests have threads. A request that waits for news is put aside (`followers`): those whose
conversation has changed look after all others were answered.
"""

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from db.engine.database import WouldWait, database, keeps_connection, may_wait, release
from db.engine.notices import listen, unlisten
from db.errors import Unavailable
from handlers.http.aside import is_working
from handlers.http.endpoint import NEWS, OUTSIDE, SAFE_METHODS, SCAN
from handlers.http.logs import log
from handlers.http.metrics import gauges
from handlers.tracing import switch

from .connection import Connection
from .followers import WATCH_SECONDS, Followers
from .gateway import Gateway, GatewayRequest, GatewayResponse, Parked, Piece
from .threads import Threads
from .writes import GROUP_REQUESTS, Writes

Result = GatewayResponse | Parked | Piece

POLL_SECONDS = 0.5  # until an idle loop calls `on_turn` again
NO_FILE_SECONDS = 0.02  # until a loop without a free file descriptor accepts again
# For how long followers look in a turn: a share of the time that the answers to others took, or
# this, if there were none.
FOLLOWERS_SHARE = 0.25
FOLLOWERS_SECONDS = 0.001
SCANNING_THREADS = 2  # at most, for requests that take long: more would slow each other down
LOOKING_THREADS = 8  # at most, where a look waits for a database server
WAITING_THREADS = 256  # at most, that wait for a lock; further requests get a 503
EXPIRE_SECONDS = 1.0  # between two looks at who is late


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
        # By threads.
        self._answered: deque[tuple[Connection, Result]] = deque()
        self._writes = Writes(gateway, self._hand_over)
        self._followers = Followers(gateway, self._wake)
        self._asking: dict[Connection, None] = {}  # for news, and not yet looked
        self._looking = threading.Semaphore(LOOKING_THREADS)
        self._scans: deque[Connection] = deque()  # whose requests wait for one of these threads
        self._scanning = threading.Semaphore(SCANNING_THREADS)
        self._is_watching = False  # a thread is
        self._expired_at = time.monotonic()  # when late connections were looked for
        self._threads = Threads("aside")
        self._aside = 0  # requests that threads are answering
        self._is_stopping = False

    def stop(self) -> None:
        """Let `run` end when all that has been received is answered. Any thread may call this."""
        self._is_stopping = True
        self._wake()

    def run(self) -> None:
        keeps_connection.set(True)
        may_wait.set(False)
        switch.begin()
        listen(self._followers.hear)
        gauges["followers"] = lambda: len(self._followers)
        try:
            while not self._is_stopping:
                self._turn(POLL_SECONDS)
            for each in self._listening:
                self._selector.unregister(each)
            self._receive_all()
            self._followers.end()
            while self._is_at_work():
                self._turn(POLL_SECONDS)
        finally:
            unlisten(self._followers.hear)
            release()
            switch.end()

    def close(self) -> None:
        """After `run` has ended."""
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.data.socket.close()
        self._selector.close()
        self._waker.close()
        self._woken.close()

    def _is_at_work(self) -> bool:
        at_hand = self._with_request or self._asking or self._followers or self._aside
        return bool(at_hand) or is_working() or self._is_sending()

    def _turn(self, patience: float) -> None:
        if self._with_request or self._asking:
            patience = 0
        elif _reads_a_file():
            patience = min(patience, self._followers.seconds_until_due())
        elif self._followers:
            patience = WATCH_SECONDS  # or until a thread is done
        for key, events in self._selector.select(patience):
            connection: Connection | None = key.data
            if connection is None:
                if key.fileobj is self._woken:
                    self._send_answered()
                else:
                    self._accept_all(key.fileobj)  # type: ignore[arg-type]
            elif events & selectors.EVENT_WRITE:
                self._do(connection, connection.flush)
                if not connection.is_sending:
                    self._followers.rouse(connection)
            elif connection in self._followers:
                self._interrupt(connection)
            elif connection not in self._asking:  # these are answered before more of them is read
                self._do(connection, connection.receive)
        started = time.monotonic()
        answered = self._answer()
        if self._asking or self._followers:
            spent = time.monotonic() - started
            self._serve_followers(FOLLOWERS_SHARE * spent if answered else FOLLOWERS_SECONDS)
        self._expire()
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
            if connection in self._followers:
                self._gateway.give_up(self._followers.take(connection))
            self._followers.leave(connection)
            self._selector.unregister(connection.socket)
            connection.socket.close()
            return
        wanted = selectors.EVENT_WRITE if connection.is_sending else selectors.EVENT_READ
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)
        is_busy = connection.is_sending or connection.is_live
        if connection.request is not None and not is_busy:
            self._with_request[connection] = None

    # --- Answering

    def _answer(self) -> int:
        """Answer one request of each connection that has one. Return how many the loop answered."""
        asking, self._with_request = self._with_request, {}
        reading: list[Connection] = []
        writing: list[Connection] = []
        for connection in asking:
            request = _request_of(connection)
            waits_for = self._gateway.waits_for(request)
            if waits_for == NEWS and _reads_a_file():
                self._asking[connection] = None
            elif waits_for == OUTSIDE or not _reads_a_file():
                self._answer_aside(connection)
            elif waits_for == SCAN:
                self._take_aside([connection])
                self._scans.append(connection)
            elif request.method in SAFE_METHODS:
                reading.append(connection)
            else:
                writing.append(connection)
        for connection in reading:
            try:
                self._send(connection, self._gateway.respond(_request_of(connection)))
            except WouldWait as lock:
                self._wait_aside(connection, lock)
        for start in range(0, len(writing), GROUP_REQUESTS):
            self._write(writing[start : start + GROUP_REQUESTS])
        while self._scans and self._scanning.acquire(blocking=False):
            self._start(partial(self._scan, self._scans.popleft()))
        return len(reading) + len(writing)

    def _send(self, connection: Connection, response: GatewayResponse) -> None:
        self._do(connection, connection.respond, response)

    def _write(self, connections: list[Connection]) -> None:
        """Answer requests that write, with one commit. It does not wait for another process."""
        answered = self._writes.answer(connections)
        if answered is not None:
            for connection, response in answered:
                self._send(connection, response)
            return
        self._take_aside(connections)
        if self._writes.wait(connections):
            self._start(self._writes.serve)

    # --- Followers

    def _serve_followers(self, seconds: float) -> None:
        """Let followers look to whom something happened, for a moment: others come first."""
        self._followers.wake()
        if self._followers.is_watch_due() and not self._is_watching:
            self._watch()
        if not _reads_a_file():
            self._look_aside()
            return
        end = time.monotonic() + seconds
        while self._asking or self._followers.next() is not None:
            connection, parked = self._next_to_look()
            try:
                self._finish(connection, self._result(connection, parked))
            except WouldWait as lock:
                self._wait_aside(connection, lock, parked)
            if time.monotonic() >= end:
                return

    def _next_to_look(self) -> tuple[Connection, Parked | None]:
        """Who asks comes first, since live followers look again and again."""
        if self._asking:
            connection = next(iter(self._asking))
            del self._asking[connection]
            return connection, None
        woken = self._followers.next()
        assert woken is not None  # noqa: S101 - there is one of either
        return woken, self._followers.take(woken)

    def _watch(self) -> None:
        has_new = self._followers.begin_watch()
        if _reads_a_file():
            self._followers.ask(has_new, self._followers.versions)
            return
        versions = self._followers.versions()

        def ask() -> None:
            self._followers.ask(has_new, lambda: versions)
            self._is_watching = False
            release()

        self._is_watching = True
        self._start(ask)

    def _look_aside(self) -> None:
        """Let followers look where each look waits for a database server: in threads."""
        while (first := self._followers.next()) is not None:
            if not self._looking.acquire(blocking=False):
                return
            parked = self._followers.take(first)
            together: list[tuple[Connection, Parked | None]] = [(first, parked)]
            together += [
                (each, self._followers.take(each)) for each in self._followers.like(parked)
            ]
            self._take_aside([connection for connection, _ in together])
            self._start(partial(self._look_all, together))

    def _look_all(self, together: list[tuple[Connection, Parked | None]]) -> None:
        self._answer_each(together)
        self._looking.release()
        self._wake()

    def _finish(self, connection: Connection, result: Result) -> None:
        """Send the response or a part of it, or let the request wait."""
        if isinstance(result, GatewayResponse):
            self._send(connection, result)
            return
        if isinstance(result, Piece):
            parked, is_last = result.parked, result.is_last
            self._do(connection, connection.go_on, result)
        else:
            parked, is_last = result, False
            if parked.wait.is_live and not connection.is_live:
                self._do(connection, connection.begin, parked.response)
            elif parked.wait.is_live:
                self._look_at(connection)
        if is_last:
            self._followers.leave(connection)
        elif connection.is_open:
            self._followers.park(connection, parked)
        else:
            self._gateway.give_up(parked)

    def _interrupt(self, connection: Connection) -> None:
        """A client of which something comes while its request waits: it waits no longer.

        It sends its next request, or it leaves.
        """
        self._finish(connection, self._gateway.give_up(self._followers.take(connection)))

    # --- Time

    def _expire(self) -> None:
        """Let go of the clients that are late."""
        now = time.monotonic()
        if now < self._expired_at + EXPIRE_SECONDS:
            return
        self._expired_at = now
        for key in list(self._selector.get_map().values()):
            connection: Connection | None = key.data
            if connection is not None and connection.deadline < now:
                self._do(connection, connection.expire)

    # --- Threads

    def _answer_aside(self, connection: Connection, parked: Parked | None = None) -> None:
        """Let a thread of its own answer the request, which may have waited for news."""
        self._take_aside([connection])
        self._start(partial(self._answer_each, [(connection, parked)]))

    def _scan(self, connection: Connection) -> None:
        self._answer_each([(connection, None)])
        self._scanning.release()
        self._wake()

    def _answer_each(self, together: list[tuple[Connection, Parked | None]]) -> None:
        for connection, parked in together:
            self._hand_over([(connection, self._result(connection, parked))])
        release()

    def _result(self, connection: Connection, parked: Parked | None) -> Result:
        """The response, or what the request waits with."""
        request = _request_of(connection)
        if parked is None:
            return self._gateway.answer_or_park(request)
        try:
            return self._followers.look(request, parked) or parked
        except Exception as error:
            failed = self._gateway.failed(request, error, parked.response)
            return self._gateway.give_up(parked) if parked.wait.is_live else failed

    def _wait_aside(
        self, connection: Connection, lock: WouldWait, parked: Parked | None = None
    ) -> None:
        """Let a thread answer a request that has to wait for a lock, if not too many do so."""
        if parked is not None and parked.wait.is_live:  # it looks again soon
            parked.wait.until = time.monotonic() + WATCH_SECONDS
            self._followers.park(connection, parked)
            return
        if self._aside - len(self._scans) < WAITING_THREADS:
            self._answer_aside(connection, parked)
            return
        busy = Unavailable(f"{self._aside} requests wait already: {lock.__cause__}")
        self._send(connection, self._gateway.failed(_request_of(connection), busy))

    def _take_aside(self, connections: list[Connection]) -> None:
        """Look at these connections again when they are answered."""
        for connection in connections:
            self._selector.unregister(connection.socket)
        self._aside += len(connections)

    def _start(self, work: Callable[[], None]) -> None:
        try:
            self._threads.run(work)
        except RuntimeError:  # there is no thread to be had, so everybody waits
            token = may_wait.set(True)
            try:
                work()
            finally:
                may_wait.reset(token)

    def _hand_over(self, answered: Iterable[tuple[Connection, Result]]) -> None:
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
            self._finish(connection, response)


def _request_of(connection: Connection) -> GatewayRequest:
    assert connection.request is not None  # noqa: S101 - it is asked of those that have one
    return connection.request


def _reads_a_file() -> bool:
    """Whether the rows are at hand. A database server has to be waited for, and so has the opening
    of the store, which the first request does.
    """
    return database.obj is not None and database.obj.engine == "sqlite"
