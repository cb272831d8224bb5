"""Chat: say something in a conversation and get a model's answer."""

from dataclasses import dataclass

from chalice.app import Blueprint

from db import events
from db.idempotency_keys import Claim

from .events import event_stream
from .http.caller import AnyCaller
from .http.endpoint import ANY, JSON, MODEL, Reply, endpoint
from .http.headers import ACCEPT, REPLAYED, Headers
from .http.problems import MODEL_FAILED, NO_MESSAGE, OFFSET_CONFLICT, STREAM_FINISHED, Problem
from .http.sse import EVENT_STREAM
from .http.types import Strict, Uuid
from .llm import turns
from .messages import Content, MessageResponse, Metadata

routes = Blueprint(__name__)


class ChatRequest(Strict):
    conversation_id: Uuid
    content: Content
    metadata: Metadata = None


@dataclass(slots=True)
class ChatResponse:
    user_message: MessageResponse
    assistant_message: MessageResponse


class Accept(Headers):
    accept: str = ACCEPT.field("")


@routes.route("/api/v1/chat", methods=["POST"], content_types=ANY)
@endpoint(
    media_types=(JSON, EVENT_STREAM),
    problems=(NO_MESSAGE, OFFSET_CONFLICT, STREAM_FINISHED, MODEL_FAILED),
    waits_for=MODEL,
)
def chat(
    caller: AnyCaller, body: ChatRequest, headers: Accept, claim: Claim | None = None
) -> Reply[ChatResponse]:
    """Say something in a conversation and get the model's answer.

    `/events` shows the answer live. When the model fails, the response is 502, and the user's
    message and the part of the answer that came stay stored. Whoever deletes, ends or writes to
    the answer meanwhile ends this request with 404 or 409.
    """
    turn = turns.take(caller.scope, body.conversation_id, body.content, body.metadata, claim)
    extra = REPLAYED if turn.is_replayed else {}
    if turn.failure is not None:
        ids = {"user_message_id": turn.question.id, "assistant_message_id": turn.answer.id}
        raise Problem(MODEL_FAILED, turn.failure, extra, **ids)
    if EVENT_STREAM in headers.accept:
        told = events.after(caller.scope, body.conversation_id, turn.question.position - 1)
        return Reply(event_stream(told), extra, media_type=EVENT_STREAM)  # type: ignore[arg-type]
    response = ChatResponse(
        user_message=MessageResponse.of(turn.question),
        assistant_message=MessageResponse.of(turn.answer),
    )
    return Reply(response, extra)
