"""Chats of Vercel's AI SDK: what `useChat` asks of its backend.

A chat is a conversation under a name that the client chose.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Self

from chalice.app import Blueprint
from pydantic import AfterValidator, Field, model_validator

from db import conversations, messages, streams, submissions, transcripts
from db.clock import age
from db.errors import ConversationNotFound, MessageNotFound
from db.models import COMPLETED, IN_PROGRESS, MessageRow
from db.scope import NO_PROJECT, Scope
from db.settings import settings
from db.submissions import Submission

from ..http.aside import aside
from ..http.caller import AnyCaller
from ..http.endpoint import ANY, NEWS, OUTSIDE, Reply, endpoint
from ..http.headers import IDEMPOTENT_REPLAYED, REPLAYED
from ..http.problems import CLIENT_ID_REUSED, MESSAGE_DELETED, NO_CONVERSATION
from ..http.sse import EVENT_STREAM
from ..http.types import ABSENT, Id, Key, Strict, Uuid
from ..http.waiting import body_of
from ..llm import turns
from .wire import HEADERS, Failure, PartsWait, ShownMessage, UIMessage, shown

routes = Blueprint(__name__)

CHATS = "/api/chat"
# A page loads the messages and then asks for the answer in progress. One that ended in between is
# told, too.
LOADING_SECONDS = 5.0


def _different_ids(batch: list[UIMessage]) -> list[UIMessage]:
    if len({message.id for message in batch}) < len(batch):
        raise ValueError("the ids of messages must differ")
    return batch


class ChatSubmission(Strict):
    id: Annotated[Key, Field(description="A conversation's id, or any name of the client's own.")]
    messages: Annotated[
        list[UIMessage],
        AfterValidator(_different_ids),
        Field(description="Of a chat that is stored, the last one counts."),
    ] = Field(default_factory=list)
    message: Annotated[UIMessage, Field(description="The last message alone.")] = ABSENT
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: Key | None = Field(
        default=None,
        alias="messageId",
        description="The message that is edited, or whose answer is written anew.",
    )
    project_id: Uuid | None = Field(
        default=None, description="Where a new chat begins, unless the key is for one project."
    )

    @model_validator(mode="after")
    def messages_or_message(self) -> Self:
        if self.messages and self.message is not None:
            raise ValueError("messages and message cannot be combined")
        return self

    def submission(self) -> Submission:
        sent = [self.message] if self.message is not None else self.messages
        return Submission(
            drafts=[message.draft() for message in sent],
            is_again=self.trigger == "regenerate-message",
            name=self.message_id,
            is_alone=self.message is not None,
        )


class ChatStop(Strict):
    active_stream_id: str | None = Field(
        default=None, alias="activeStreamId", description="Stop nothing if it is another one."
    )
    assistant_message: dict[str, Any] | None = Field(
        default=None,
        alias="assistantMessage",
        description="What the client has of the answer. What is stored counts.",
    )


@dataclass(slots=True)
class ShownChat:
    id: Annotated[str, Field(description="As it was asked for.")]
    conversation_id: Id | None
    messages: list[ShownMessage]
    active_stream_id: Annotated[
        Id | None,
        Field(
            serialization_alias="activeStreamId",
            description="The answer in progress, which is not among the messages.",
        ),
    ]


@routes.route(CHATS, methods=["POST"], content_types=ANY)
@endpoint(
    sends=("Location", IDEMPOTENT_REPLAYED, *HEADERS),
    media_types=(EVENT_STREAM,),
    problems=(NO_CONVERSATION, CLIENT_ID_REUSED, MESSAGE_DELETED),
    waits_for=OUTSIDE,
    is_idempotent=True,
)
def submit_to_chat(caller: AnyCaller, body: ChatSubmission) -> Reply[str]:
    """AI SDK: say something in a chat, edit it, or answer it once more. The answer comes as parts.

    The ids of the messages make a repetition safe: it is told the same answer. An Idempotency-Key
    changes nothing. A chat of that name is begun if there is none. The answer is written to its end
    whoever reads it. `/stop` ends it, and so does the next message.
    """
    scope = caller.scope
    project_id = scope.project_id
    if body.project_id is not None:
        project_id = caller.within(body.project_id).scope.project_id
    elif project_id is None and not settings().require_api_key:
        project_id = NO_PROJECT
    taken = submissions.take(scope, body.id, project_id, body.submission())
    answer = messages.find(scope, taken.conversation_id, taken.turn.answer_id)
    failure = None if taken.turn.is_known else Failure()
    wait = PartsWait(scope, answer, failure)
    wait.gathered_seconds = settings().chat_timeout
    if failure is not None:
        aside(
            partial(turns.answer, scope, taken.conversation_id, taken.turn, on_failure=failure.tell)
        )
    location = {"Location": f"/api/v1/conversations/{taken.conversation_id}"}
    replayed = REPLAYED if taken.turn.is_known else {}
    return Reply(body_of(wait), {**HEADERS, **location, **replayed})


@routes.route(CHATS + "/{chat_id}", methods=["GET"], content_types=ANY)
@endpoint()
def load_chat(caller: AnyCaller, chat_id: Key) -> ShownChat:
    """AI SDK: what `useChat` begins with: the messages of the active branch, oldest first.

    The answer in progress is not among them: `/stream` tells it from its beginning. A chat that is
    not there is an empty one.
    """
    conversation_id = conversations.named(caller.scope, chat_id)
    rows: list[MessageRow] = []
    if conversation_id is not None:
        try:
            rows = transcripts.read(caller.scope, conversation_id).messages
        except ConversationNotFound:  # it was deleted since
            conversation_id = None
    active = rows.pop() if rows and _is_answer(rows[-1], IN_PROGRESS) else None
    return ShownChat(
        id=chat_id,
        conversation_id=conversation_id,
        messages=[shown(row) for row in rows if row.role != "tool"],
        active_stream_id=active.id if active else None,
    )


@routes.route(CHATS + "/{chat_id}/stream", methods=["GET"], content_types=ANY)
@endpoint(sends=tuple(HEADERS), media_types=(EVENT_STREAM,), waits_for=NEWS, if_none=204)
def resume_chat(caller: AnyCaller, chat_id: Key) -> Reply[str]:
    """AI SDK: the answer in progress from its beginning, or one that has just ended. Else 204."""
    with suppress(ConversationNotFound, MessageNotFound):
        answer = _answer_to_tell(caller.scope, chat_id)
        if answer is not None:
            wait = PartsWait(caller.scope, answer)
            wait.gathered_seconds = settings().max_wait
            return Reply(body_of(wait), HEADERS.copy())
    return Reply("", status=204)


def _answer_to_tell(scope: Scope, chat_id: str) -> MessageRow | None:
    """The newest message, if it is an answer in progress or has ended just now."""
    conversation_id = conversations.named(scope, chat_id)
    if conversation_id is None:
        return None
    conversation, _ = transcripts.read(scope, conversation_id, with_messages=False)
    if conversation.last_message_id is None:
        return None
    newest = messages.find(scope, conversation_id, conversation.last_message_id)
    if not _is_answer(newest):
        return None
    if newest.status == IN_PROGRESS:
        return newest
    ended_at = newest.updated_at
    if newest.status != COMPLETED:  # it has the time of its last piece
        conversation, _ = transcripts.read(scope, conversation_id, with_messages=False)
        ended_at = conversation.updated_at
    return newest if age(ended_at) <= LOADING_SECONDS else None


def _is_answer(row: MessageRow, status: str | None = None) -> bool:
    return row.role == "assistant" and status in (None, row.status)


@routes.route(CHATS + "/{chat_id}/stop", methods=["POST"], content_types=ANY)
@endpoint(status=204, is_idempotent=True)
def stop_chat(caller: AnyCaller, chat_id: Key, body: ChatStop | None = None) -> None:
    """AI SDK: end the answer in progress as `incomplete`, with what there is of it.

    A model that is answering is hung up on.
    """
    conversation_id = conversations.named(caller.scope, chat_id)
    with suppress(ConversationNotFound):
        if conversation_id is not None:
            stopped = body.active_stream_id if body else None
            turns.hang_up(streams.stop(caller.scope, conversation_id, stopped))
