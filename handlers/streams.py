"""Streams: a message is written piece by piece, and a conversation's events are followed.

A stream is rows, not a socket: neither API Gateway under Chalice nor `chalice local` can flush half
a response. So an answer holds what there is, and asking again goes on where it ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from chalice.app import Blueprint
from pydantic import Field
from pydantic_core import to_json

from db import feed, writer
from db.event import CONVERSATION, MESSAGE
from db.feed import FeedEvent
from db.settings import settings

from .http.caller import AnyCaller
from .http.endpoint import ANY, Headers, endpoint
from .http.local import make_way
from .http.problems import OFFSET_CONFLICT, STREAM_FINISHED
from .http.types import Id, Strict, Text, Timestamp, Uuid
from .messages import MESSAGES, MessageResponse, Status

routes = Blueprint(__name__)

EVENT_STREAM = "text/event-stream"
RETRY = "retry: 500\n\n"  # milliseconds until a browser's EventSource asks again


class AppendRequest(Strict):
    offset: int = Field(ge=0, le=2**53 - 1, description="In code points.")
    delta: Text
    status: Status | None = None


@dataclass(slots=True)
class AppendResponse:
    id: Id
    status: Status
    length: Annotated[int, Field(description="In code points.")]
    updated_at: Timestamp


class FollowQuery(Strict):
    wait: float = Field(default=0, ge=0, le=20, description="Seconds to wait for something new.")


class LastEventId(Headers):
    last_event_id: int = Field(
        0,
        alias="Last-Event-ID",
        ge=0,
        le=2**63 - 1,
        description="The id of the last event seen, or the number in a conversation's ETag.",
    )


@routes.route(MESSAGES + "/{message_id}/append", methods=["POST"], content_types=ANY)
@endpoint(problems=(OFFSET_CONFLICT, STREAM_FINISHED))
def append_to_message(
    caller: AnyCaller, conversation_id: Uuid, message_id: Uuid, body: AppendRequest
) -> AppendResponse:
    """Write the next piece of a message in progress; with a final status, finish it.

    What is at that offset already is a retry and changes nothing; a gap, or other text, is a 409
    that tells the length. An empty delta at the end says that the writer is alive.
    """
    progress = writer.append(
        caller.scope, conversation_id, message_id, body.offset, body.delta, body.status
    )
    return AppendResponse(*progress)  # type: ignore[arg-type]  # its status is a Status


@routes.route("/api/v1/conversations/{conversation_id}/events", methods=["GET"], content_types=ANY)
@endpoint(media_types=(EVENT_STREAM,))
def follow_conversation(
    caller: AnyCaller, conversation_id: Uuid, query: FollowQuery, headers: LastEventId
) -> str:
    """What happened after `Last-Event-ID`, as server-sent events; ends when it has told all.

    `message` has a message, `delta` `{message_id, offset, delta}`, `done` `{message_id, status,
    length}`, `deleted` `{message_id}`, and `conversation` `{id, title, is_archived}`.
    """
    wait = min(query.wait, settings().max_wait)
    if wait:
        make_way()
    return event_stream(feed.follow(caller.scope, conversation_id, headers.last_event_id, wait))


def event_stream(events: Iterable[FeedEvent]) -> str:
    """Events in the form of the HTML standard's section 9.2, server-sent events."""
    return RETRY + "".join(map(_server_sent, events))


def _server_sent(event: FeedEvent) -> str:
    data = event.data
    if event.kind == MESSAGE:
        data = MessageResponse.of(data)
    elif event.kind == CONVERSATION:
        data = {"id": data.id, "title": data.title, "is_archived": bool(data.is_archived)}
    return f"id: {event.position}\nevent: {event.kind}\ndata: {to_json(data).decode()}\n\n"
