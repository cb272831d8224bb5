"""A response as OpenAI's clients read it, and the events that tell one while it is made.

https://platform.openai.com/docs/api-reference/responses-streaming has the events. The clients'
accumulators want them in one order: a response is created with an empty output, an item is added
before its parts, a part before its text, and no id changes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic_core import to_json

from db.chat_parts import Call
from db.models import COMPLETED, IN_PROGRESS, INCOMPLETE
from db.openai_ids import item_id

from ..http.telling import Telling
from ..llm.client import End
from .wire import JsonObject, ShownItem, call_item, id_in, message_item, text_part

# Why a response is incomplete, by why the model ended.
REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
FAILED = "failed"


@dataclass(slots=True)
class ModelResponse:
    __pydantic_config__: ClassVar = ConfigDict(title="OpenAIResponse")

    id: str
    object: Literal["response"]
    created_at: Annotated[int, Field(description="Unix time in seconds.")]
    status: Annotated[
        str, Field(json_schema_extra={"enum": [IN_PROGRESS, COMPLETED, INCOMPLETE, FAILED]})
    ]
    error: JsonObject | None
    incomplete_details: JsonObject | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[ShownItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: JsonObject
    store: bool
    temperature: float | None
    text: JsonObject
    tool_choice: str | JsonObject
    tools: list[JsonObject]
    top_p: float | None
    truncation: Literal["disabled"]
    usage: JsonObject | None
    metadata: dict[str, str]
    conversation: Annotated[
        JsonObject | None, Field(description="`{id}`: where it is stored. `null`: nowhere.")
    ]


def ended(
    response: ModelResponse,
    status: str,
    output: Sequence[JsonObject],
    end: End,
    failure: str | None = None,
) -> ModelResponse:
    """A response as it is when the model has ended."""
    reason = REASONS.get(end.reason)
    return replace(
        response,
        status=FAILED if failure else status,
        error={"code": "server_error", "message": failure} if failure else None,
        incomplete_details={"reason": reason} if status == INCOMPLETE and reason else None,
        output=[*output],
        usage=_usage(end.usage),
    )


def _usage(counted: JsonObject | None) -> JsonObject | None:
    """The tokens that the model's server has counted, in the names that responses have."""
    if counted is None:
        return None
    read, written = "prompt_tokens_details", "completion_tokens_details"
    input, output = _count(counted, "prompt_tokens"), _count(counted, "completion_tokens")
    return {
        "input_tokens": input,
        "input_tokens_details": {
            name: _count(counted, read, name) for name in ("cached_tokens", "cache_write_tokens")
        },
        "output_tokens": output,
        "output_tokens_details": {
            name: _count(counted, written, name) for name in ("reasoning_tokens",)
        },
        "total_tokens": _count(counted, "total_tokens") or input + output,
    }


def _count(counted: Any, *names: str) -> int:
    """A number that a model's server may have sent, or something else."""
    for name in names:
        counted = counted.get(name) if isinstance(counted, dict) else None
    return counted if isinstance(counted, int) and counted > 0 else 0


def output_of(
    text_id: str | None, text: str, status: str, calls: Sequence[tuple[str, Call]]
) -> list[JsonObject]:
    """The items of an answer: its text, if there is any, and its calls."""
    said = [message_item(text_id, "assistant", text, status)] if text_id else []
    return [*said, *({"id": item_id("function_call", id), **call_item(it)} for id, it in calls)]


class ResponseEvents:
    """Tells a response while it is made. What it tells is the body of an event stream."""

    def __init__(self, response: ModelResponse) -> None:
        self.telling = Telling()
        self._place: JsonObject = {}  # of the text
        self._number = 0
        for moment in ("created", IN_PROGRESS):
            self._tell(moment, response=response)

    def begin_text(self, text_id: str) -> None:
        """The answer begins with text, which is the message of that id."""
        item = message_item(text_id, "assistant", [], IN_PROGRESS)
        self._place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        self._tell("output_item.added", output_index=0, item=item)
        self._tell("content_part.added", **self._place, part=text_part("assistant", ""))

    def say(self, piece: str) -> None:
        self._tell("output_text.delta", **self._place, delta=piece, logprobs=[])

    def end(self, response: ModelResponse) -> None:
        """Tell the rest of the response, which is as it will stay."""
        for index, item in enumerate(response.output):
            if item["type"] == "message":
                part = item["content"][0]
                self._tell("output_text.done", **self._place, text=part["text"], logprobs=[])
                self._tell("content_part.done", **self._place, part=part)
            else:
                self._tell_call(index, item)
            self._tell("output_item.done", output_index=index, item=item)
        self._tell(response.status, response=response)
        self.telling.end()

    def _tell_call(self, index: int, item: JsonObject) -> None:
        place = {"item_id": item["id"], "output_index": index}
        arguments = item["arguments"]
        added = {**item, "arguments": "", "status": IN_PROGRESS}
        self._tell("output_item.added", output_index=index, item=added)
        self._tell("function_call_arguments.delta", **place, delta=arguments)
        self._tell("function_call_arguments.done", **place, name=item["name"], arguments=arguments)

    def _tell(self, type: str, **data: Any) -> None:
        event = {"type": f"response.{type}", "sequence_number": self._number, **data}
        self._number += 1
        self.telling.add(f"event: {event['type']}\ndata: {to_json(event).decode()}\n\n")


def told_whole(response: ModelResponse) -> str:
    """The body that tells a response which is there to its end."""
    created = replace(response, status=IN_PROGRESS, output=[], usage=None, error=None)
    events = ResponseEvents(replace(created, incomplete_details=None))
    if response.output and response.output[0]["type"] == "message":
        item = response.output[0]
        events.begin_text(str(id_in(item["id"])))
        if text := item["content"][0]["text"]:
            events.say(text)
    events.end(response)
    return "".join(events.telling.parts)


def new_response(id: str, **echoed: Any) -> ModelResponse:
    """A response that has begun. `echoed` is what of it the request says."""
    return ModelResponse(
        id=id,
        object="response",
        created_at=int(time.time()),
        status=IN_PROGRESS,
        error=None,
        incomplete_details=None,
        output=[],
        truncation="disabled",
        usage=None,
        **echoed,
    )
