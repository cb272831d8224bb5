"""Chat: say something in a conversation and get a model's answer."""

from dataclasses import dataclass
from typing import Annotated, Self

from chalice.app import Blueprint
from pydantic import Field, model_validator

from db import events
from db.idempotency_keys import Claim
from db.messages import Draft

from .events import event_stream
from .http.caller import AnyCaller
from .http.endpoint import ANY, JSON, MODEL, Reply, endpoint
from .http.headers import ACCEPT, REPLAYED, Headers
from .http.problems import (
    CLIENT_ID_REUSED,
    MESSAGE_DELETED,
    MODEL_FAILED,
    NO_MESSAGE,
    OFFSET_CONFLICT,
    STREAM_FINISHED,
    Problem,
)
from .http.sse import EVENT_STREAM
from .http.types import ABSENT, Strict, Uuid
from .llm import turns
from .messages import Content, MessageResponse, Metadata, OwnId, ParentId, parent_of

routes = Blueprint(__name__)


class ChatRequest(Strict):
    conversation_id: Uuid
    content: Annotated[
        Content, Field(description="The question. Without it, `parent_id` is answered once more.")
    ] = ABSENT
    metadata: Metadata = None
    parent_id: ParentId = ABSENT
    client_id: OwnId = None

    @model_validator(mode="after")
    def question_or_parent(self) -> Self:
        if "content" not in self.model_fields_set:
            if self.model_fields_set.isdisjoint({"parent_id"}) or self.parent_id is None:
                raise ValueError("content, or the parent_id of a question, is required")
            if self.client_id is not None or self.metadata is not None:
                raise ValueError("client_id and metadata belong to a question: send content, too")
        return self


@dataclass(slots=True)
class ChatResponse:
    user_message: MessageResponse
    assistant_message: MessageResponse


class Accept(Headers):
    accept: str = ACCEPT.field("")


@routes.route("/api/v1/chat", methods=["POST"], content_types=ANY)
@endpoint(
    media_types=(JSON, EVENT_STREAM),
    problems=(
        *(NO_MESSAGE, OFFSET_CONFLICT, STREAM_FINISHED, MODEL_FAILED),
        *(CLIENT_ID_REUSED, MESSAGE_DELETED),
    ),
    waits_for=MODEL,
)
def chat(
    caller: AnyCaller, body: ChatRequest, headers: Accept, claim: Claim | None = None
) -> Reply[ChatResponse]:
    """Say something in a conversation and get the model's answer, or another one to a question.

    With `content`, the question follows the active leaf or `parent_id`. Without, `parent_id` names
    a user's or a tool's message that is answered once more, beside its other answers.
    `/events` shows the answer live. When the model fails, the response is 502, and the user's
    message and the part of the answer that came stay stored. Whoever deletes, ends or writes to
    the answer meanwhile ends this request with 404 or 409.
    """
    if "content" in body.model_fields_set:
        question = Draft(
            role="user",
            content=body.content,
            metadata=body.metadata,
            parent_id=parent_of(body),
            client_id=body.client_id,
        )
        turn = turns.take(caller.scope, body.conversation_id, question, claim)
    else:
        turn = turns.retake(caller.scope, body.conversation_id, str(body.parent_id), claim)
    extra = REPLAYED if turn.is_replayed else {}
    if turn.failure is not None:
        ids = {"user_message_id": turn.question.id, "assistant_message_id": turn.answer.id}
        raise Problem(MODEL_FAILED, turn.failure, extra, **ids)
    if EVENT_STREAM in headers.accept:
        first = turn.answer if turn.is_regenerated else turn.question
        told = events.after(caller.scope, body.conversation_id, first.position - 1)
        return Reply(event_stream(told), extra, media_type=EVENT_STREAM)  # type: ignore[arg-type]
    response = ChatResponse(
        user_message=MessageResponse.of(turn.question),
        assistant_message=MessageResponse.of(turn.answer),
    )
    return Reply(response, extra)
