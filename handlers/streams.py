"""Streams: a message is written piece by piece, by any process."""

from dataclasses import dataclass
from typing import Annotated

from chalice.app import Blueprint
from pydantic import Field

from db import streams

from .http.caller import AnyCaller
from .http.endpoint import ANY, endpoint
from .http.problems import OFFSET_CONFLICT, STREAM_FINISHED
from .http.types import Id, Strict, Text, Timestamp, Uuid
from .llm import turns
from .messages import MESSAGES, Status

routes = Blueprint(__name__)

CONVERSATION = "/api/v1/conversations/{conversation_id}"


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


@routes.route(CONVERSATION + "/stop", methods=["POST"], content_types=ANY)
@endpoint(status=204)
def stop_conversation(caller: AnyCaller, conversation_id: Uuid) -> None:
    """End what is being written in a conversation as `incomplete`, whoever writes it.

    A model that is answering is hung up on: at once, or with its next piece if another process has
    asked it.
    """
    turns.hang_up(streams.stop(caller.scope, conversation_id))


@routes.route(MESSAGES + "/{message_id}/append", methods=["POST"], content_types=ANY)
@endpoint(problems=(OFFSET_CONFLICT, STREAM_FINISHED))
def append_to_message(
    caller: AnyCaller, conversation_id: Uuid, message_id: Uuid, body: AppendRequest
) -> AppendResponse:
    """Write the next piece of a message in progress. A final status finishes it.

    What is at that offset already is a retry and changes nothing. A gap, or another text, is a 409
    that tells the length. An empty delta at the end says that the writer is alive.
    """
    state = streams.append(
        caller.scope, conversation_id, message_id, body.offset, body.delta, body.status
    )
    return AppendResponse(
        id=state.id,
        status=state.status,  # type: ignore[arg-type]  # what was stored had been validated
        length=state.length,
        updated_at=state.updated_at,
    )
