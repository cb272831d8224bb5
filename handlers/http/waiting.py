"""Waiting for news of a conversation, or of all that a scope covers.

A request that finds nothing new is put aside where the server can do that (`server/followers.py`):
it holds no thread, and looks again when something was committed. Elsewhere, as on Lambda, its own
thread waits and looks ten times a second.

A live request does not end with the first news where the server can send parts of a response: what
a look finds is a part of it, and then it waits on. Elsewhere it is as any other, or, if its
response is of no use without its end, its thread gathers all parts.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from math import inf
from typing import Any, NamedTuple

from db.engine.database import release
from db.engine.notices import Topic

# A look takes 0.1 ms, so a thread that waits takes 0.1 % of a core.
POLL_SECONDS = 0.1
# A live request ends then, and its client asks again: with a key that may be revoked by now, and
# maybe of another worker.
LIFE_SECONDS = 300
# A live response that has nothing to tell for so long has a sign of life: proxies drop a connection
# that is silent, and a client that is gone is found.
SIGN_OF_LIFE_SECONDS = 15.0


class Found(NamedTuple):
    """What a look finds."""

    body: str | None  # of the response, behind its head. None: nothing is new
    version: int  # of what is waited for
    due_at: float = inf  # a moment of time.monotonic, when it has to look again, told or not
    place: Any = None  # where a live request goes on
    is_last: bool = False  # a live request ends with it


class Wait(ABC):
    """A request that waits for a topic."""

    head = ""  # how every response begins
    sign_of_life = ""  # a part that tells a live reader nothing
    is_gathered = False  # where nothing is sent live, its body has all parts to the end
    ends_with_server = True  # else the server, when it ends in good order, waits for its end

    def __init__(self, topic: Topic, seconds: float, is_live: bool = False) -> None:
        self.topic = topic
        self.seconds = seconds  # of nothing new, after which it ends
        self._dies_at = time.monotonic() + max(LIFE_SECONDS, seconds)
        self.gathered_seconds = seconds  # at most, where its parts are gathered
        self.is_live = is_live
        self.version = 0  # of the topic at the last look
        self.until = self.deadline = time.monotonic() + seconds  # then it looks, if not before
        self._sign_due_at = time.monotonic() + SIGN_OF_LIFE_SECONDS
        # Notes the request, when it is answered with that status.
        self.note: Callable[[int], None] = lambda status: None

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """It is the same for those that would find the same."""

    @abstractmethod
    def look(self) -> Found:
        """Raises ConversationNotFound, Unavailable."""

    def nothing(self) -> str:
        """The body, behind its head, if nothing happens to the end."""
        return ""

    def learn(self, found: Found) -> str | None:
        """Take what was found, by this look or by one with the same key. Return its body."""
        self.version = found.version
        if not self.is_live:
            self.until = min(self.deadline, found.due_at)
            return found.body
        body, now = found.body, time.monotonic()
        if body is not None:
            self.go_on(found.place)
            until = min(now + self.seconds, self._dies_at)
            self.deadline = -inf if found.is_last else until
        elif now >= self._sign_due_at:
            body = self.sign_of_life
        if body:
            self._sign_due_at = now + SIGN_OF_LIFE_SECONDS
        self.until = min(self.deadline, found.due_at, self._sign_due_at)
        return body

    def go_on(self, place: Any) -> None:  # noqa: B027 - not abstract
        """A live request was told of all up to a place. One that never is live ignores it."""

    def has_ended(self) -> bool:
        return time.monotonic() >= self.deadline


class Parking:
    """A server's offer to put the request that it answers aside. `wait`: the offer was taken."""

    wait: Wait | None = None

    def __init__(self, is_flushed: bool = False) -> None:
        self.is_flushed = is_flushed  # parts of the response are sent as they come


# Set while a server that can put a request aside answers it.
parking: ContextVar[Parking | None] = ContextVar("parking", default=None)


def body_of(wait: Wait) -> str:
    """The response's body, as soon as there is news or the wait has ended.

    If the server puts the request aside, it is the body in case that nothing happens, or the first
    part of what is told live.
    """
    place = parking.get()
    if place is None and wait.is_live and wait.is_gathered:
        return wait.head + _gathered(wait)
    wait.is_live = wait.is_live and place is not None and place.is_flushed
    body = wait.learn(wait.look())
    if place is not None and (body is None or wait.is_live) and not wait.has_ended():
        place.wait = wait
        return wait.head + (wait.nothing() if body is None else body)
    while body is None and not wait.has_ended():
        release()
        time.sleep(min(POLL_SECONDS, max(0, wait.deadline - time.monotonic())))
        body = wait.learn(wait.look())
    return wait.head + (wait.nothing() if body is None else body)


def _gathered(wait: Wait) -> str:
    """All parts of a live response in one, up to its end or until its time is over."""
    end = time.monotonic() + wait.gathered_seconds
    parts = []
    while True:
        parts.append(wait.learn(wait.look()) or "")
        now = time.monotonic()
        if wait.has_ended() or now >= end:
            return "".join(parts)
        if now < wait.until:
            release()
            time.sleep(min(POLL_SECONDS, end - now))
