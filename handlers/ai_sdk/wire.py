"""The shapes of Vercel's AI SDK: its UI messages, and the parts of its UI message stream.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol has the parts. Nothing below this package knows
of them.
"""

from collections.abc import Hashable, Iterator
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, WithJsonSchema
from typing_extensions import TypedDict

from db.chat_parts import text_in
from db.events import ConversationEvent
from db.messages import Draft
from db.models import (
    COMPLETED,
    DELTA,
    INCOMPLETE,
    MESSAGE,
    Content,
    MessageRow,
)
from db.scope import Scope

from ..events import AnswerWait, status_at_end
from ..http import sse
from ..http.headers import UI_MESSAGE_STREAM
from ..http.types import Key, Strict

# Of each response that is a stream.
HEADERS = {
    UI_MESSAGE_STREAM: "v1",
    **sse.HEADERS,
}
TEXT_ID = "text"  # of the one text that an answer has
END = "data: [DONE]\n\n"

Part = dict[str, Any]
Role = Literal["system", "user", "assistant"]


def _typed(part: Part) -> Part:
    if not isinstance(part.get("type"), str):
        raise ValueError("a part must have a type")
    return part


Parts = Annotated[
    list[Annotated[Part, AfterValidator(_typed)]],
    Field(fail_fast=True, description="Stored and given back as they are, whatever their types."),
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"type": "string"}},
            },
        }
    ),
]


# --- Messages


class UIMessage(Strict):
    id: Annotated[Key, Field(description="Kept as the message's `client_id`.")]
    role: Role
    parts: Parts
    metadata: dict[str, Any] | None = None

    def draft(self) -> Draft:
        content = _content_of(self.parts, self.role)
        return Draft(self.role, content, metadata=self.metadata, client_id=self.id)


class ShownMessage(TypedDict):
    id: str
    role: Role
    parts: list[Part]
    metadata: NotRequired[dict[str, Any]]


def _content_of(parts: list[Part], role: str) -> Content:
    """Parts as they are stored. One text alone is a string, which every dialect shows."""
    if len(parts) == 1:
        match parts[0]:
            case {"type": "text", "text": str(text), **rest} if "\0" not in text:
                if not rest or (role == "assistant" and rest == {"state": "done"}):
                    return text
    return parts


def shown(row: MessageRow) -> ShownMessage:
    """A message as a client has it that was there when it came."""
    message = ShownMessage(id=row.client_id or row.id, role=row.role, parts=_parts_of(row))  # type: ignore[typeddict-item]
    metadata = dict(row.metadata or {})
    if row.status == INCOMPLETE:
        metadata["status"] = INCOMPLETE
    if metadata or row.metadata is not None:
        message["metadata"] = metadata
    return message


def _parts_of(row: MessageRow) -> list[Part]:
    if not isinstance(row.content, str):
        return row.content
    part = {"type": "text", "text": row.content}
    if row.role != "assistant":
        return [part]
    return [{**part, "state": "done"}] if row.content else []


# --- The stream


class Failure:
    """Why the model failed, once it has."""

    reason: str | None = None

    def tell(self, reason: str) -> None:
        self.reason = reason


class PartsWait(AnswerWait):
    """A request that is told an answer from its beginning to its end, in parts."""

    head = ""
    is_gathered = True

    def __init__(self, scope: Scope, answer: MessageRow, failure: Failure | None = None) -> None:
        """`failure` is for whoever asked the model."""
        super().__init__(scope, answer.conversation_id, answer.position - 1, answer.id)
        self._failure = failure
        self._length: int | None = None  # of the text that was told. None before the start

    @property
    def key(self) -> Hashable:
        return (super().key, self._length, self._failure)

    def told(self, some: list[ConversationEvent]) -> str:
        parts, _, is_ended = self._parts(some)
        return sse.encode_data(parts) + END * is_ended

    def place_behind(self, some: list[ConversationEvent]) -> tuple[int, int | None]:
        _, length, _ = self._parts(some)
        return some[-1].position, length

    def go_on(self, place: tuple[int, int | None]) -> None:
        position, self._length = place
        super().go_on(position)

    def _parts(self, some: list[ConversationEvent]) -> tuple[list[Part], int | None, bool]:
        """The parts that tell these events, the length of the text then, and whether it ended."""
        parts: list[Part] = []
        length = self._length
        for event in filter(self.is_of_answer, some):
            if length is None:
                parts.append({"type": "start", "messageId": self.answer_id})
                length = 0
            offset, text = _text_in(event)
            if unseen := text[max(0, length - offset) :]:
                if length == 0:
                    parts.append({"type": "text-start", "id": TEXT_ID})
                parts.append({"type": "text-delta", "id": TEXT_ID, "delta": unseen})
                length = offset + len(text)
            status = status_at_end(event)
            if status is not None:
                if length > 0:
                    parts.append({"type": "text-end", "id": TEXT_ID})
                return [*parts, *self._ending(status)], length, True
        return parts, length, False

    def _ending(self, status: str) -> Iterator[Part]:
        if status == COMPLETED:
            yield {"type": "finish", "finishReason": "stop"}
            return
        yield {"type": "message-metadata", "messageMetadata": {"status": INCOMPLETE}}
        if self._failure is not None and self._failure.reason is not None:
            yield {"type": "error", "errorText": self._failure.reason}
        else:
            yield {"type": "abort", "reason": "stopped"}


def _text_in(event: ConversationEvent) -> tuple[int, str]:
    """The text of an event, and where it begins in its message."""
    if event.kind == MESSAGE:
        content = event.data.content
        if isinstance(content, str):
            return 0, content
        return 0, text_in(content)
    if event.kind == DELTA:
        return event.data["offset"], event.data["delta"]
    return 0, ""
