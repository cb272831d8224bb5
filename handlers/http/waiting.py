"""Waiting for news of a conversation, or of all that a scope covers.

A request that finds nothing new is put aside where the server can do that (`server/followers.py`):
it holds no thread, and looks again when something was committed. Elsewhere, as on Lambda, its own
thread waits and looks ten times a second.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from math import inf
from typing import NamedTuple

from db.engine.database import release
from db.engine.notices import Topic

# A look takes 0.1 ms, so a thread that waits takes 0.1 % of a core.
POLL_SECONDS = 0.1


class Found(NamedTuple):
    """What a look finds."""

    body: str | None  # of the response. None: nothing is new
    version: int  # of what is waited for
    due_at: float = inf  # a moment of time.monotonic, when it has to look again, told or not


class Wait(ABC):
    """A request that waits for a topic. `key` is the same for those that would find the same."""

    def __init__(self, topic: Topic, key: Hashable, seconds: float) -> None:
        self.topic = topic
        self.key = key
        self.version = 0  # of the topic at the last look
        self.until = self.deadline = time.monotonic() + seconds  # then it looks, if not before
        # Writes the request's line into the log, when it is answered with that status.
        self.log: Callable[[int], None] = lambda status: None

    @abstractmethod
    def look(self) -> Found:
        """Raises ConversationNotFound, Unavailable."""

    @abstractmethod
    def nothing(self) -> str:
        """The body if nothing happens to the end."""

    def learn(self, found: Found) -> str | None:
        """Take what was found, by this look or by one with the same key. Return the body."""
        self.version = found.version
        self.until = min(self.deadline, found.due_at)
        return found.body

    def has_ended(self) -> bool:
        return time.monotonic() >= self.deadline


class Parking:
    """A server's offer to put the request that it answers aside. `wait`: the offer was taken."""

    wait: Wait | None = None


# Set while a server that can put a request aside answers it.
parking: ContextVar[Parking | None] = ContextVar("parking", default=None)


def body_of(wait: Wait) -> str:
    """The response's body, as soon as there is news or the wait has ended.

    If the server puts the request aside, it is the body in case that nothing happens.
    """
    body = wait.learn(wait.look())
    place = parking.get()
    if body is None and place is not None and not wait.has_ended():
        place.wait = wait
        return wait.nothing()
    while body is None and not wait.has_ended():
        release()
        time.sleep(min(POLL_SECONDS, max(0, wait.deadline - time.monotonic())))
        body = wait.learn(wait.look())
    return wait.nothing() if body is None else body
