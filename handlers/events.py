"""Events: what happened in a conversation, followed from any point.

A stream is rows and not a socket: neither API Gateway under Chalice nor `chalice local` can send a
part of a response. So an answer holds what there is, and asking again goes on where it ended.
"""

import time
from math import inf

from chalice.app import Blueprint
from pydantic import Field

from db import events
from db.events import ConversationEvent
from db.models import CONVERSATION, MESSAGE
from db.scope import Scope
from db.settings import settings

from .http import sse
from .http.caller import AnyCaller
from .http.endpoint import ANY, NEWS, endpoint
from .http.headers import LAST_EVENT_ID, Headers
from .http.sse import ServerSentEvent
from .http.types import Strict, Uuid
from .http.waiting import Found, Wait, body_of
from .messages import MessageResponse

routes = Blueprint(__name__)


# A time stamp has milliseconds, and a writer counts as gone after the last of them.
SILENCE_MARGIN_SECONDS = 0.002


class EventsWait(Wait):
    """A request that waits for the events of a conversation behind a position."""

    def __init__(self, scope: Scope, conversation_id: str, position: int, seconds: float) -> None:
        super().__init__(conversation_id, (scope, conversation_id, position), seconds)
        self._asked = (scope, conversation_id, position)

    def look(self) -> Found:
        found = events.look(*self._asked)
        silent_at = inf  # nobody tells of a writer that is gone
        if found.silence is not None:
            silent_at = time.monotonic() + found.silence + SILENCE_MARGIN_SECONDS
        body = event_stream(found.events) if found.events else None
        return Found(body, found.version, silent_at)

    def learn(self, found: Found) -> str | None:
        scope, conversation_id, position = self._asked
        if position > found.version:  # a reader from the future begins anew, as all others of them
            self.key = self._asked = (scope, conversation_id, 0)
        return super().learn(found)

    def nothing(self) -> str:
        return event_stream([])


class FollowQuery(Strict):
    wait: float = Field(default=0, ge=0, le=20, description="Seconds to wait for something new.")


class LastEventId(Headers):
    last_event_id: int = LAST_EVENT_ID.field(0, ge=0, le=2**63 - 1)


@routes.route("/api/v1/conversations/{conversation_id}/events", methods=["GET"], content_types=ANY)
@endpoint(media_types=(sse.EVENT_STREAM,), waits_for=NEWS)
def follow_conversation(
    caller: AnyCaller, conversation_id: Uuid, query: FollowQuery, headers: LastEventId
) -> str:
    """What happened after `Last-Event-ID`, as server-sent events.

    `message` has a message, `delta` `{message_id, offset, delta}`, `done` `{message_id, status,
    length}`, `deleted` `{message_id, parent_id}`, and `conversation` `{id, title, is_archived,
    is_pinned, tags, last_message_id}`. The answer ends when it has told all that there is.

    A `message` with a greater id than all before is new, and the active leaf. The children of a
    `deleted` one take its `parent_id`. If it was the active leaf, its parent is, or for a root the
    newest message. A `conversation` names the active leaf whenever it is another one.
    """
    seconds = min(query.wait, settings().max_wait)
    position = headers.last_event_id
    return body_of(EventsWait(caller.scope, conversation_id, position, seconds))


def event_stream(told: list[ConversationEvent]) -> str:
    """The body of a response that tells these events."""
    return sse.encode([_server_sent(event) for event in told])


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
