"""Events: what happened in a conversation, followed from any point.

A stream is rows and not a socket. An answer holds what there is, and asking again goes on where it
ended. A server that can send parts of a response stays with a `live` reader.
"""

import time
from collections.abc import Hashable
from math import inf
from typing import Any

from chalice.app import Blueprint
from pydantic import Field

from db import events
from db.events import ConversationEvent
from db.models import (
    CONVERSATION,
    DELETED,
    DELTA,
    DONE,
    IN_PROGRESS,
    INCOMPLETE,
    MESSAGE,
)
from db.scope import Scope
from db.settings import settings

from .http import sse
from .http.caller import AnyCaller
from .http.endpoint import ANY, NEWS, Reply, endpoint
from .http.headers import LAST_EVENT_ID, Headers
from .http.sse import ServerSentEvent
from .http.types import Strict, Uuid
from .http.waiting import Found, Wait, body_of
from .messages import MessageResponse

routes = Blueprint(__name__)


MAX_WAIT_SECONDS = 20
# A time stamp has milliseconds, and a writer counts as gone after the last of them.
SILENCE_MARGIN_SECONDS = 0.002


class EventsWait(Wait):
    """A request that waits for the events of a conversation behind a position."""

    head = sse.HEAD
    sign_of_life = sse.SIGN_OF_LIFE

    def __init__(
        self,
        scope: Scope,
        conversation_id: str,
        position: int,
        seconds: float,
        is_live: bool = False,
    ) -> None:
        super().__init__(conversation_id, seconds, is_live)
        self._asked = (scope, conversation_id, position)

    @property
    def key(self) -> Hashable:
        return self._asked

    def look(self) -> Found:
        found = events.look(*self._asked)
        silent_at = inf  # nobody tells of a writer that is gone
        if found.silence is not None:
            silent_at = time.monotonic() + found.silence + SILENCE_MARGIN_SECONDS
        if not found.events:
            return Found(None, found.version, silent_at)
        some, is_last = self.up_to_end(found.events)
        if some[-1].position < found.version:  # there may be more
            silent_at = 0
        place = self.place_behind(some)
        return Found(self.told(some), found.version, silent_at, place, is_last)

    def up_to_end(self, found: list[ConversationEvent]) -> tuple[list[ConversationEvent], bool]:
        """Those of the events that it is told, and whether these are the last ones."""
        return found, False

    def told(self, some: list[ConversationEvent]) -> str:
        """The part of the response that tells these events."""
        return told(some)

    def place_behind(self, some: list[ConversationEvent]) -> Any:
        """Where it goes on when it was told these."""
        return some[-1].position

    def learn(self, found: Found) -> str | None:
        scope, conversation_id, position = self._asked
        if position > found.version:  # a reader from the future begins anew, as all others of them
            self._asked = (scope, conversation_id, 0)
        return super().learn(found)

    def go_on(self, place: Any) -> None:
        scope, conversation_id, _ = self._asked
        self._asked = (scope, conversation_id, place)


class AnswerWait(EventsWait):
    """A request that is told all behind a position until an answer ends, live if it can."""

    ends_with_server = False

    def __init__(self, scope: Scope, conversation_id: str, position: int, answer_id: str) -> None:
        # A writer that is silent for longer is gone, and then there is an end to be told.
        seconds = settings().chat_timeout + settings().stream_timeout
        super().__init__(scope, conversation_id, position, seconds, is_live=True)
        self.answer_id = answer_id

    @property
    def key(self) -> Hashable:
        return (super().key, self.answer_id)

    def up_to_end(self, found: list[ConversationEvent]) -> tuple[list[ConversationEvent], bool]:
        for index, event in enumerate(found):
            if self.is_of_answer(event) and status_at_end(event) is not None:
                return found[: index + 1], True
        return found, False

    def is_of_answer(self, event: ConversationEvent) -> bool:
        if event.kind == MESSAGE:
            return bool(event.data.id == self.answer_id)
        of_messages = (DELTA, DONE, DELETED)
        return event.kind in of_messages and event.data["message_id"] == self.answer_id


def status_at_end(event: ConversationEvent) -> str | None:
    """With which status an event ends its message. None if it does not."""
    if event.kind == DELETED:
        return INCOMPLETE
    if event.kind == DONE:
        return str(event.data["status"])
    is_end = event.kind == MESSAGE and event.data.status != IN_PROGRESS
    return str(event.data.status) if is_end else None


class FollowQuery(Strict):
    wait: float | None = Field(
        default=None,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for something new. Default: 0, and for a `live` reader 20.",
    )
    live: bool = Field(
        default=False,
        description="Stay on this connection, and end after `wait` seconds of nothing new instead "
        "of with the first news. Behind API Gateway it has no effect.",
    )


class LastEventId(Headers):
    last_event_id: int = LAST_EVENT_ID.field(0, ge=0, le=2**63 - 1)


@routes.route("/api/v1/conversations/{conversation_id}/events", methods=["GET"], content_types=ANY)
@endpoint(media_types=(sse.EVENT_STREAM,), sends=tuple(sse.HEADERS), waits_for=NEWS)
def follow_conversation(
    caller: AnyCaller, conversation_id: Uuid, query: FollowQuery, headers: LastEventId
) -> Reply[str]:
    """What happened after `Last-Event-ID`, as server-sent events.

    `message` has a message, `delta` `{message_id, offset, delta}`, `done` `{message_id, status,
    length}`, `deleted` `{message_id, parent_id}`, and `conversation` `{id, title, is_archived,
    is_pinned, tags, last_message_id}`. The answer ends when it has told all that there is.

    A `message` with a greater id than all before is new, and the active leaf. The children of a
    `deleted` one take its `parent_id`. If it was the active leaf, its parent is, or for a root the
    newest message. A `conversation` names the active leaf whenever it is another one.
    """
    asked = query.wait if query.wait is not None else MAX_WAIT_SECONDS * query.live
    seconds = min(asked, settings().max_wait)
    position = headers.last_event_id
    body = body_of(EventsWait(caller.scope, conversation_id, position, seconds, query.live))
    return Reply(body, sse.HEADERS.copy())


def told(events: list[ConversationEvent]) -> str:
    """A part of a response that tells these events."""
    return sse.encode([_server_sent(event) for event in events])


def _server_sent(event: ConversationEvent) -> ServerSentEvent:
    data = event.data
    if event.kind == MESSAGE:
        data = MessageResponse.of(data)
    elif event.kind == CONVERSATION:
        data = {
            "id": data.id,
            "title": data.title,
            "is_archived": bool(data.is_archived),
            "is_pinned": bool(data.is_pinned),
            "tags": data.tags or [],
            "last_message_id": data.last_message_id,
        }
    return ServerSentEvent(id=event.position, event=event.kind, data=data)
