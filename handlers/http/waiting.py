"""Waiting for news of a conversation.

A request that finds nothing new is put aside where the server can do that (`server/followers.py`):
it holds no thread, and looks again when something was committed. Elsewhere, as on Lambda, its own
thread waits and looks ten times a second.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from math import inf
from typing import NamedTuple

from db import events
from db.engine.database import release
from db.events import ConversationEvent
from db.scope import Scope

# A look takes 0.1 ms, so a thread that waits takes 0.1 % of a core.
POLL_SECONDS = 0.1
# A time stamp has milliseconds, and a writer counts as gone after the last of them.
SILENCE_MARGIN_SECONDS = 0.002

Render = Callable[[list[ConversationEvent]], str]


class Found(NamedTuple):
    """What a look finds."""

    body: str | None  # of the response. None: nothing is new
    version: int  # of the conversation
    silent_at: float  # a moment of time.monotonic, when one of its writers will count as gone


class Wait:
    """A request that waits. `key` is the same for those that would find the same."""

    def __init__(
        self, scope: Scope, conversation_id: str, position: int, seconds: float, render: Render
    ) -> None:
        self.key = (scope, conversation_id, position)
        self.conversation_id = conversation_id
        self.version = 0  # of the conversation at the last look
        self.until = self.deadline = time.monotonic() + seconds  # then it looks, if not before
        # Writes the request's line into the log, when it is answered with that status.
        self.log: Callable[[int], None] = lambda status: None
        self._render = render

    def look(self) -> Found:
        """Raises ConversationNotFound, Unavailable."""
        found = events.look(*self.key)
        silent_at = inf  # nobody tells of a writer that is gone
        if found.silence is not None:
            silent_at = time.monotonic() + found.silence + SILENCE_MARGIN_SECONDS
        body = self._render(found.events) if found.events else None
        return Found(body, found.version, silent_at)

    def learn(self, found: Found) -> str | None:
        """Take what was found, by this look or by one with the same key. Return the body."""
        self.version = found.version
        self.until = min(self.deadline, found.silent_at)
        scope, conversation_id, position = self.key
        if position > found.version:  # a reader from the future begins anew, as all others of them
            self.key = (scope, conversation_id, 0)
        return found.body

    def has_ended(self) -> bool:
        return time.monotonic() >= self.deadline

    def nothing(self) -> str:
        """The body if nothing happens to the end."""
        return self._render([])


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
