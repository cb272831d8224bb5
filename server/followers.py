"""Followers: requests that wait for news. They hold no thread.

A commit of this process wakes those whom it concerns (`db.engine.notices`). For what other
processes commit, one watcher asks the database ten times a second whether anything was committed,
and if so, which of the conversations waited for, and in whose scopes. So a thousand idle followers
cost hardly more than one.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from math import inf

from db import changes, conversations
from db.engine.database import WouldWait, data_version
from db.engine.notices import Topic
from db.errors import Unavailable
from db.scope import Scope
from handlers.http.waiting import Found, Wait

from .connection import Connection
from .gateway import Gateway, GatewayRequest, GatewayResponse, Parked, Piece

WATCH_SECONDS = 0.1


class Followers:
    """The connections whose requests wait for news, and those of them that are to look again.

    Only the loop's thread may use it, but for `hear`, `look` and `ask`.
    """

    def __init__(self, gateway: Gateway, wake_loop: Callable[[], None]) -> None:
        self._gateway = gateway
        self._wake_loop = wake_loop
        self._parked: dict[Connection, Parked] = {}
        self._of: dict[Topic, dict[Connection, None]] = defaultdict(dict)
        self._woken: dict[Connection, None] = {}  # in the order in which they look
        # Live ones that look now and then wait on, and those of them whose topic changed meanwhile.
        self._looking: dict[Connection, Topic] = {}
        self._missed: set[Connection] = set()
        self._changed: deque[set[Topic]] = deque()  # from any thread
        # By topic and `Wait.key`: what was found since the topic changed.
        self._found: dict[Topic, dict[object, Found]] = {}
        # The number up to which other processes' changes were heard of, for those who wait for a
        # scope; and the numbers that those knew who began to wait since.
        self._number: float = inf
        self._numbers: deque[int] = deque()
        self._database_version: object = None
        self._watched_at = 0.0
        self._has_new = False  # somebody has begun to wait since the last watch
        self._is_ending = False

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._parked

    def __len__(self) -> int:
        return len(self._parked)

    # --- Who waits

    def park(self, connection: Connection, parked: Parked) -> None:
        """Let it wait."""
        self._parked[connection] = parked
        self._of[parked.wait.topic][connection] = None
        if isinstance(parked.wait.topic, Scope):
            self._numbers.append(parked.wait.version)
        self._has_new = True
        is_cut = self._is_ending and parked.wait.ends_with_server
        is_due = parked.wait.until <= time.monotonic() or connection in self._missed
        # No watch tells what a topic of this process alone has told since a thread's first look.
        is_of_process = not isinstance(parked.wait.topic, str | Scope)
        is_unheard = is_of_process and connection not in self._looking
        if is_cut or is_due or is_unheard:
            self._woken[connection] = None
        self.leave(connection)

    def rouse(self, connection: Connection) -> None:
        """Let it look, though nothing was told."""
        if connection in self._parked:
            self._woken[connection] = None

    def take(self, connection: Connection) -> Parked:
        """Let it wait no longer."""
        parked = self._parked.pop(connection)
        self._woken.pop(connection, None)
        topic = parked.wait.topic
        del self._of[topic][connection]
        if not self._of[topic]:
            del self._of[topic]
        if parked.wait.is_live:
            self._looking[connection] = topic
        return parked

    def leave(self, connection: Connection) -> None:
        """It looks no longer."""
        self._looking.pop(connection, None)
        self._missed.discard(connection)

    def end(self) -> None:
        """From now on nobody waits, but for those who are told an answer."""
        self._is_ending = True
        self._woken |= dict.fromkeys(self._parked)

    # --- Who looks again

    def hear(self, topics: set[Topic]) -> None:
        """These have changed. Any thread may call this."""
        if topics and (self._of or self._looking):
            self._changed.append(topics)
            self._wake_loop()

    def wake(self) -> None:
        """Wake those whose topic has changed."""
        while self._changed:
            for topic in self._changed.popleft():
                self._found.pop(topic, None)
                self._woken |= self._of.get(topic, {})
                self._missed |= {each for each, its in self._looking.items() if its == topic}

    def next(self) -> Connection | None:
        """Who is to look first."""
        if not self._woken and self._found:
            self._found = {
                topic: found for topic, found in self._found.items() if topic in self._of
            }
        while (first := next(iter(self._woken), None)) is not None and first.is_sending:
            del self._woken[first]  # it looks when its client has taken what it was sent
        return first

    def like(self, parked: Parked) -> list[Connection]:
        """The others that are to look, and would find the same."""
        return [
            connection
            for connection in self._of.get(parked.wait.topic, {})
            if connection in self._woken
            and not connection.is_sending
            and self._parked[connection].wait.key == parked.wait.key
        ]

    def look(self, request: GatewayRequest, parked: Parked) -> GatewayResponse | Piece | None:
        """The response to a request, or a part of it. None if it has to wait on.

        Any thread may call this.
        """
        is_cut = self._is_ending and parked.wait.ends_with_server
        if is_cut or parked.wait.has_ended():
            return self._gateway.give_up(parked)
        return self._gateway.resume(request, parked, self._body)

    def _body(self, wait: Wait) -> str | None:
        """What a look finds. Those who would find the same share one look."""
        found_by_key = self._found.setdefault(wait.topic, {})
        found = found_by_key.get(wait.key)
        if found is None:
            found = found_by_key[wait.key] = wait.look()
        return wait.learn(found)

    # --- What nobody tells

    def seconds_until_due(self) -> float:
        """The most that the loop may sleep."""
        if self._woken or self._changed:
            return 0
        if not self._parked:
            return inf
        return max(0, self._watched_at + WATCH_SECONDS - time.monotonic())

    def is_watch_due(self) -> bool:
        return bool(self._parked) and time.monotonic() >= self._watched_at + WATCH_SECONDS

    def begin_watch(self) -> bool:
        """Wake those whose time has come. Return whether somebody is new since the last watch."""
        now = self._watched_at = time.monotonic()
        for connection, parked in self._parked.items():
            if parked.wait.until <= now:
                self._found.pop(parked.wait.topic, None)
                self._woken[connection] = None
        has_new, self._has_new = self._has_new, False
        return has_new

    def versions(self) -> dict[str, int]:
        """The conversations that are waited for, with the oldest version that was seen of each."""
        found: dict[str, int] = {}
        for _, wait in self._parked.values():
            if isinstance(wait.topic, str):
                version = found.get(wait.topic, wait.version)
                found[wait.topic] = min(version, wait.version)
        return found

    def ask(self, has_new: bool, versions: Callable[[], Mapping[str, int]]) -> None:
        """Hear what other processes have changed of these. Any thread may call this, one at a time.

        Somebody new may have looked before a commit that was told, and begun to wait after it.
        """
        try:
            version = data_version()
            if version != self._database_version or has_new:
                self.hear({*conversations.changed(versions())})
                self._hear_of_scopes()
            self._database_version = version
        except (Unavailable, WouldWait):  # the followers' own looks will tell them
            self._has_new = True

    def _hear_of_scopes(self) -> None:
        """Hear in which scopes other processes have changed something."""
        if not any(isinstance(topic, Scope) for topic in [*self._of]):
            self._number = inf  # nobody has to be told of what comes until somebody waits
        while self._numbers:
            self._number = min(self._number, self._numbers.popleft())
        if self._number < inf:
            scopes, self._number = changes.scopes_since(int(self._number))
            self.hear({*scopes})
