"""Followers: requests that wait for news of a conversation. They hold no thread.

A commit of this process wakes those whom it concerns (`db.engine.notices`). For what other
processes commit, one watcher asks the database ten times a second whether anything was committed,
and if so, which of the conversations waited for. So a thousand idle followers cost hardly more than
one.
"""

import heapq
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from itertools import count

from db import conversations
from db.engine.database import data_version
from db.errors import Unavailable
from handlers.http.waiting import Wait

from .connection import Connection
from .gateway import Gateway, GatewayResponse

WATCH_SECONDS = 0.1


class Followers:
    """The connections whose requests wait for news, and those of them that are to look again.

    Only the loop's thread may use it, but for `hear`, `look_at` and `ask`.
    """

    def __init__(self, gateway: Gateway, wake_loop: Callable[[], None]) -> None:
        self._gateway = gateway
        self._wake_loop = wake_loop
        # None: it has not looked yet.
        self._parked: dict[Connection, GatewayResponse | None] = {}
        self._of: dict[str, dict[Connection, None]] = defaultdict(dict)  # by conversation
        self._woken: dict[Connection, None] = {}  # in the order in which they look
        self._timers: list[tuple[float, int, Connection, GatewayResponse]] = []  # a heap
        self._numbers = count()  # no two timers compare equal
        self._changed: deque[set[str]] = deque()  # ids of conversations, from any thread
        self._bodies: dict[object, str] = {}  # what was told since the last change, by Wait.key
        self._database_version: object = None
        self._watched = 0.0  # when the watcher asked last
        self._has_new = False  # since then
        self._is_ending = False

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._parked

    def __len__(self) -> int:
        return len(self._parked)

    def hear(self, ids: set[str]) -> None:
        """Conversations with these ids have changed. Any thread may call this."""
        if ids and self._of:
            self._changed.append(ids)
            self._wake_loop()

    # --- Who waits

    def admit(self, connection: Connection) -> None:
        """Let the request of a connection look as soon as it is its turn."""
        self._parked[connection] = None
        self._woken[connection] = None

    def park(self, connection: Connection, response: GatewayResponse) -> None:
        """Let it wait. `response` is the one that it gets if nothing happens."""
        wait = response.wait
        assert wait is not None  # noqa: S101 - that is what makes it wait
        self._parked[connection] = response
        self._of[wait.conversation_id][connection] = None
        heapq.heappush(self._timers, (wait.until, next(self._numbers), connection, response))
        self._has_new = True
        if self._is_ending:
            self._woken[connection] = None

    def take(self, connection: Connection) -> GatewayResponse | None:
        """Forget it, and return the response that it waits with. None if it has not looked yet."""
        response = self._parked.pop(connection)
        self._woken.pop(connection, None)
        if response is not None and response.wait is not None:
            id = response.wait.conversation_id
            del self._of[id][connection]
            if not self._of[id]:
                del self._of[id]
        return response

    def end(self) -> None:
        """From now on nobody waits: all are told what there is."""
        self._is_ending = True
        self._woken |= dict.fromkeys(self._parked)

    # --- Who is to look again

    def wake(self) -> None:
        """Wake those whose conversation has changed, and those whose time has come."""
        while self._changed:
            self._bodies.clear()
            for id in self._changed.popleft():
                self._woken |= self._of.get(id, {})
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, connection, response = heapq.heappop(self._timers)
            if self._parked.get(connection) is response:
                self._woken[connection] = None

    def seconds_until_due(self) -> float:
        """The most that the loop may sleep."""
        if self._woken or self._changed:
            return 0
        due = self._timers[0][0] if self._timers else float("inf")
        if self._of:
            due = min(due, self._watched + WATCH_SECONDS)
        return max(0, due - time.monotonic())

    def next(self) -> Connection | None:
        """Who is to look first."""
        return next(iter(self._woken), None)

    def look(self, connection: Connection) -> GatewayResponse:
        """Let it look. The response has a `wait` if there is nothing yet."""
        parked = self.take(connection)
        response = self.look_at(connection, parked)
        if response.wait is not None:
            self.park(connection, response)
        return response

    def look_at(self, connection: Connection, parked: GatewayResponse | None) -> GatewayResponse:
        """The same for one that was taken. Any thread may call this."""
        request = connection.request
        assert request is not None  # noqa: S101 - that is what waits
        response = parked
        if response is None:
            response = self._gateway.answer_or_park(request)
        elif response.wait is not None and not response.wait.has_ended():
            response = self._gateway.resume(request, response, self._body)
        if response.wait is not None and (self._is_ending or response.wait.has_ended()):
            return self._gateway.give_up(response)
        return response

    def _body(self, wait: Wait) -> str | None:
        """What a look finds. Those who would be told the same share one look."""
        body = self._bodies.get(wait.key)
        if body is None:
            body = wait.look()
            if body is not None:
                self._bodies[wait.key] = body
        return body

    # --- What other processes commit

    def is_watch_due(self) -> bool:
        return bool(self._of) and time.monotonic() >= self._watched + WATCH_SECONDS

    def watch(self) -> None:
        """Ask the database whether other processes have changed what is waited for."""
        self.ask(self.begin_watch(), self.versions)

    def begin_watch(self) -> bool:
        """Return whether somebody has begun to wait since the last watch."""
        self._watched = time.monotonic()
        has_new, self._has_new = self._has_new, False
        return has_new

    def versions(self) -> dict[str, int]:
        """The conversations that are waited for, with the oldest version that was seen of each."""
        waits = (response.wait for response in self._parked.values() if response is not None)
        found: dict[str, int] = {}
        for wait in waits:
            if wait is not None:
                version = found.get(wait.conversation_id, wait.version)
                found[wait.conversation_id] = min(version, wait.version)
        return found

    def ask(self, has_new: bool, versions: Callable[[], Mapping[str, int]]) -> None:
        """Hear what the database says of these. Any thread may call this, one at a time."""
        try:
            version = data_version()
            if version != self._database_version or has_new:
                self.hear(conversations.changed(versions()))
            self._database_version = version
        except Unavailable:  # the followers' own looks will tell them
            self._has_new = True
