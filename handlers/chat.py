"""Chat: store the user's message, ask the model, store its answer while it arrives."""

import json
import logging
from dataclasses import dataclass
from typing import Any

from chalice.app import Blueprint
from pydantic import Field

from db import feed, transcript, writer
from db.errors import RequestInProgress
from db.idempotency_key import Answer
from db.message import Draft, Message, MessageRow
from db.scope import Scope
from db.stream import IN_PROGRESS
from db.writer import INCOMPLETE

from .http.caller import AnyCaller
from .http.endpoint import ANY, JSON, Headers, Reply, endpoint
from .http.idempotency import REPLAYED, Once
from .http.local import make_way
from .http.problems import MODEL_FAILED, NO_MESSAGE, OFFSET_CONFLICT, STREAM_FINISHED, Problem
from .http.types import Strict, Uuid
from .messages import Content, MessageResponse, Metadata
from .model import ModelError, ask
from .streams import EVENT_STREAM, event_stream

routes = Blueprint(__name__)
log = logging.getLogger("confab")

# An endpoint's default must not be shared state, and this is none: it remembers nothing.
EVERY_TIME = Once()


class ChatRequest(Strict):
    conversation_id: Uuid
    content: Content
    metadata: Metadata = None


@dataclass(slots=True)
class ChatResponse:
    user_message: MessageResponse
    assistant_message: MessageResponse


class Accept(Headers):
    accept: str = Field("", alias="Accept", description="`text/event-stream` for the events.")


@routes.route("/api/v1/chat", methods=["POST"], content_types=ANY)
@endpoint(
    media_types=(JSON, EVENT_STREAM),
    problems=(NO_MESSAGE, OFFSET_CONFLICT, STREAM_FINISHED, MODEL_FAILED),
)
def chat(
    caller: AnyCaller, body: ChatRequest, headers: Accept, once: Once = EVERY_TIME
) -> Reply[ChatResponse]:
    """Say something in a conversation and get the model's answer.

    `/events` shows the answer live. When the model fails, the answer is 502, and the user's
    message and the part of the answer that came stay stored. Whoever deletes, stops or writes to
    the answer meanwhile ends it: 404 or 409.
    """
    # The two messages and the Idempotency-Key commit together; a retry finds them by their ids,
    # whatever became of the first request, and asks no model again.
    started, replayed = once.run(lambda: _start(caller.scope, body))
    user_id, assistant_id = json.loads(started.body)
    failure = None
    if not replayed:
        make_way()
        failure = _answer(caller.scope, body.conversation_id, assistant_id)
    user, assistant = (
        Message.find(caller.scope, body.conversation_id, id) for id in (user_id, assistant_id)
    )
    if assistant.status == IN_PROGRESS:
        raise RequestInProgress(
            "The first request with this Idempotency-Key is still being answered: follow /events."
        )
    if assistant.status == INCOMPLETE:
        raise Problem(
            MODEL_FAILED,
            failure or "The model did not answer to the end when this was asked first.",
            REPLAYED if replayed else {},
            user_message_id=user_id,
            assistant_message_id=assistant_id,
        )
    return _reply(caller.scope, user, assistant, headers, replayed)


def _start(scope: Scope, body: ChatRequest) -> Answer:
    user, assistant = Message.append(
        scope,
        body.conversation_id,
        [
            Draft("user", body.content, metadata=body.metadata),
            Draft("assistant", "", IN_PROGRESS),
        ],
    )
    return Answer(200, "{}", json.dumps([user.id, assistant.id]))


def _answer(scope: Scope, conversation_id: str, message_id: str) -> str | None:
    """Write the model's answer into the message. Returns why it is incomplete, if it is."""
    messages = transcript.read(scope, conversation_id).messages
    history = [message for message in messages if message.status == "completed"]
    length = 0
    try:
        for piece in ask(history):
            writer.append(scope, conversation_id, message_id, length, piece)
            length += len(piece)
    except ModelError as error:
        log.warning("%s", error, exc_info=error.__cause__)
        writer.append(scope, conversation_id, message_id, length, "", INCOMPLETE)
        return str(error)
    writer.append(scope, conversation_id, message_id, length, "", "completed")
    return None


def _reply(
    scope: Scope, user: MessageRow, assistant: MessageRow, headers: Accept, replayed: bool
) -> Reply[Any]:
    extra = REPLAYED if replayed else {}
    if EVENT_STREAM in headers.accept:
        events = feed.events_after(scope, user.conversation_id, user.position - 1)
        return Reply(event_stream(events), extra, media_type=EVENT_STREAM)
    response = ChatResponse(MessageResponse.of(user), MessageResponse.of(assistant))
    return Reply(response, extra)
