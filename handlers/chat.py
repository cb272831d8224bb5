"""Chat: say something in a conversation and get a model's answer."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Self

from chalice.app import Blueprint
from pydantic import Field, model_validator

from db import messages
from db.idempotency_keys import Claim
from db.messages import Draft
from db.models import INCOMPLETE

from .events import AnswerWait
from .http.aside import aside
from .http.caller import AnyCaller
from .http.endpoint import ANY, JSON, OUTSIDE, Reply, endpoint
from .http.headers import ACCEPT, REPLAYED, Headers, accepts
from .http.problems import (
    CLIENT_ID_REUSED,
    MESSAGE_DELETED,
    MODEL_FAILED,
    NO_MESSAGE,
    Problem,
)
from .http.sse import EVENT_STREAM
from .http.sse import HEADERS as HEADERS_OF_EVENTS
from .http.types import ABSENT, Strict, Uuid
from .http.waiting import body_of
from .llm import turns
from .llm.client import Options
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
    model: Annotated[str | None, Field(min_length=1, max_length=255)] = Field(
        default=None, description="The name of the model. Default: CHAT_MODEL."
    )
    tools: Annotated[list[dict[str, Any]] | None, Field(max_length=128)] = Field(
        default=None,
        description="What the model may call, as for OpenAI's `/chat/completions`. Calls are parts "
        '`{"type": "tool_call", "id", "name", "arguments"}` of the answer. Append a message of the '
        "role `tool` with each result, and its call's id in `metadata.tool_call_id`; then send the "
        "last one's id as `parent_id`.",
    )
    tool_choice: str | dict[str, Any] | None = None

    @property
    def options(self) -> Options:
        tools = self.tools or None  # OpenAI's server refuses an empty list, and a choice of none
        return Options(self.model, tools, self.tool_choice if tools else None)

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
        *(NO_MESSAGE, MODEL_FAILED),
        *(CLIENT_ID_REUSED, MESSAGE_DELETED),
    ),
    sends=tuple(HEADERS_OF_EVENTS),
    waits_for=OUTSIDE,
)
def chat(
    caller: AnyCaller, body: ChatRequest, headers: Accept, claim: Claim | None = None
) -> Reply[ChatResponse]:
    """Say something in a conversation and get the model's answer, or another one to a question.

    With `content`, the question follows the active leaf or `parent_id`. Without, `parent_id` names
    a user's or a tool's message that is answered once more, beside its other answers.
    `/events` shows the answer live, and so does this response with `Accept: text/event-stream`,
    unless it goes through a gateway that buffers. It ends with `done`, or with the `message` that
    has the tool calls. When the model fails, the user's message and the part of the answer that
    came stay stored, and the response is 502; one with events, whose status is sent before, ends
    with `done` and `incomplete`. The answer is written to its end whoever reads it. `/stop` ends
    it.
    """
    scope, conversation_id = caller.scope, body.conversation_id
    if "content" in body.model_fields_set:
        question = Draft(
            role="user",
            content=body.content,
            metadata=body.metadata,
            parent_id=parent_of(body),
            client_id=body.client_id,
        )
        begun = turns.take(scope, conversation_id, question, claim)
    else:
        begun = turns.retake(scope, conversation_id, str(body.parent_id), claim)
    extra = REPLAYED if begun.is_known else {}
    if accepts(headers.accept, EVENT_STREAM):
        if not begun.is_known:
            aside(partial(turns.answer, scope, conversation_id, begun, body.options))
        is_new = "content" in body.model_fields_set
        first = begun.question_id if is_new else begun.answer_id
        before = messages.find(scope, conversation_id, first).position - 1
        told = body_of(AnswerWait(scope, conversation_id, before, begun.answer_id))
        headers_of_events = {**HEADERS_OF_EVENTS, **extra}
        return Reply(told, headers_of_events, media_type=EVENT_STREAM)  # type: ignore[arg-type]
    failure = None if begun.is_known else turns.answer(scope, conversation_id, begun, body.options)
    turn = turns.read(scope, conversation_id, begun, failure)
    if turn.failure is not None:
        ids = {"user_message_id": turn.question.id, "assistant_message_id": turn.answer.id}
        raise Problem(MODEL_FAILED, turn.failure, extra, **ids)
    if claim is not None and not begun.is_known and turn.answer.status == INCOMPLETE:
        turns.note_well(claim, begun)
    response = ChatResponse(
        user_message=MessageResponse.of(turn.question),
        assistant_message=MessageResponse.of(turn.answer),
    )
    return Reply(response, extra)
