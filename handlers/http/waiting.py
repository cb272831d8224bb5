"""Waiting for news of a conversation.

A request that finds nothing new is put aside where the server can do that (`server/followers.py`):
it holds no thread, and looks again when something was committed. Elsewhere, as on Lambda, its own
thread waits and looks ten times a second.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar

from db import events
from db.engine.database import release
from db.events import ConversationEvent
from db.scope import Scope

# A look takes 0.1 ms, so a thread that waits takes 0.1 % of a core.
POLL_SECONDS = 0.1
# A time stamp has milliseconds, and a writer counts as gone after the last of them.
SILENCE_MARGIN_SECONDS = 0.002

Render = Callable[[list[ConversationEvent]], str]


class Wait:
    """A request that waits. `key` is the same for those that would be told the same."""

    # Writes the request's line into the log, when it is answered with that status.
    log: Callable[[int], None]

    def __init__(
        self, scope: Scope, conversation_id: str, position: int, seconds: float, render: Render
    ) -> None:
        self.key = (scope, conversation_id, position)
        self.conversation_id = conversation_id
        self.deadline = time.monotonic() + seconds
        self._render = render

    def look(self) -> str | None:
        """The response's body, if there is news. Raises ConversationNotFound, Unavailable."""
        found = events.look(*self.key)
        self.version = found.version
        # Nobody tells of a writer that is gone, so look when that is due.
        self.until = self.deadline
        if found.silence is not None:
            due = time.monotonic() + found.silence + SILENCE_MARGIN_SECONDS
            self.until = min(self.deadline, due)
        return self._render(found.events) if found.events else None

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
    body = wait.look()
    place = parking.get()
    if body is None and place is not None and not wait.has_ended():
        place.wait = wait
        return wait.nothing()
    while body is None and not wait.has_ended():
        release()
        time.sleep(min(POLL_SECONDS, max(0, wait.deadline - time.monotonic())))
        body = wait.look()
    return wait.nothing() if body is None else body
