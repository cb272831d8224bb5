"""What a request for a response says, and what of it goes to the model."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from db.messages import Draft
from db.openai_ids import RESPONSE, shown_id
from db.settings import settings

from ..http.types import LIST, ONE, Strict, Text, one_or_list
from ..llm.client import Options
from .errors import EXCLUSIVE, UNSUPPORTED
from .wire import (
    ConversationId,
    Cursor,
    Include,
    JsonObject,
    Metadata,
    SentItem,
    Unsupported,
    draft_of,
)

MAX_TOOLS = 128  # as OpenAI has it


def _only_function(type: str) -> str:
    if type != "function":
        message = "must be function: the other tools are run by OpenAI's servers"
        raise PydanticCustomError(UNSUPPORTED, message)
    return type


Function = Annotated[str, AfterValidator(_only_function), WithJsonSchema({"const": "function"})]


class FunctionTool(Strict):
    """A tool that the client runs."""

    type: Function
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None
    # Accepted without effect.
    allowed_callers: Any = None
    defer_loading: Any = None
    output_schema: Any = None

    def sent(self) -> JsonObject:
        names = ("name", "description", "parameters", "strict")
        fields = {name: getattr(self, name) for name in names}
        function = {name: value for name, value in fields.items() if value is not None}
        return {"type": "function", "function": function}


class NamedTool(Strict):
    type: Function
    name: str

    def sent(self) -> JsonObject:
        return {"type": "function", "function": {"name": self.name}}


class AllowedTools(Strict):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(fail_fast=True, max_length=MAX_TOOLS)]

    def sent(self) -> JsonObject:
        tools = [tool.sent() for tool in self.tools]
        return {"type": self.type, self.type: {"mode": self.mode, "tools": tools}}


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    json_schema: JsonObject | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def schema_has_name(self) -> Self:
        if self.type == "json_schema" and not (self.name and self.json_schema is not None):
            raise ValueError("a json_schema needs a name and a schema")
        return self

    def sent(self) -> JsonObject | None:
        """As `/chat/completions` has it. Text is what a model answers anyway."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": self.type}
        fields = self.model_dump(by_alias=True, exclude={"type"}, exclude_none=True)
        return {"type": self.type, "json_schema": fields}


class TextConfig(Strict):
    format: ResponseFormat | None = None
    verbosity: Any = None


class ReasoningConfig(Strict):
    effort: str | None = None
    summary: Any = None
    generate_summary: Any = None
    context: Any = None
    mode: Any = None


def _id_of_reference(value: Any) -> Any:
    """A conversation is named by its id, or by an object that has it."""
    return value["id"] if isinstance(value, dict) and value.keys() == {"id"} else value


def _kind_of_choice(choice: Any) -> str:
    if isinstance(choice, str):
        return "<mode>"
    kind = choice.get("type") if isinstance(choice, dict) else getattr(choice, "type", None)
    return "<allowed>" if kind == "allowed_tools" else "<named>"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<mode>")]
    | Annotated[NamedTool, Tag("<named>")]
    | Annotated[AllowedTools, Tag("<allowed>")],
    Discriminator(_kind_of_choice),
]


class ResponseCreate(Strict):
    input: (
        Annotated[
            Annotated[Text, Tag(ONE)] | Annotated[list[SentItem], Field(fail_fast=True), Tag(LIST)],
            Discriminator(one_or_list),
            Field(
                description="A user's words, or items. Without it the conversation alone is asked."
            ),
        ]
        | None
    ) = None
    conversation: (
        Annotated[
            ConversationId,
            BeforeValidator(_id_of_reference),
            Field(description="Its items come before `input`; `input` and output are added to it."),
        ]
        | None
    ) = None
    previous_response_id: Annotated[
        Cursor | None,
        Field(description="Go on from the end of a response: a branch of its conversation."),
    ] = None
    model: Annotated[str | None, Field(min_length=1, max_length=255)] = Field(
        default=None, description="Default: CHAT_MODEL."
    )
    instructions: Annotated[
        Text | None, Field(description="Told first, as a system message, and not stored.")
    ] = None
    stream: bool | None = None
    store: Annotated[
        bool | None,
        Field(
            description="Without a conversation, an answer is kept for a day, so that "
            "`previous_response_id` can go on from it: then it becomes a conversation. With "
            "`false` it is not. In a conversation it has no effect."
        ),
    ] = None
    metadata: Metadata | None = None
    tools: Annotated[list[FunctionTool], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    max_output_tokens: Annotated[int | None, Field(ge=1)] = None
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = None
    # Accepted without effect.
    include: Include = None
    max_tool_calls: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    stream_options: Any = None
    top_logprobs: Any = None
    truncation: Any = None
    user: Any = None
    # What is not here.
    background: Unsupported = None
    context_management: Unsupported = None
    moderation: Unsupported = None
    prompt: Unsupported = None

    @model_validator(mode="after")
    def one_place(self) -> Self:
        if self.conversation and self.previous_response_id:
            raise PydanticCustomError(
                EXCLUSIVE, "conversation and previous_response_id cannot be combined"
            )
        return self

    def drafts(self) -> list[Draft]:
        if isinstance(self.input, str):
            return [Draft("user", self.input)]
        return [draft_of(item) for item in self.input or ()]

    def options(self) -> Options:
        tools = [tool.sent() for tool in self.tools or ()]
        choice: Any = self.tool_choice
        if choice is not None and not isinstance(choice, str):
            choice = choice.sent()
        # Without tools, servers refuse what belongs to them.
        of_tools = {"tool_choice": choice, "parallel_tool_calls": self.parallel_tool_calls}
        return Options(
            model=self.model,
            tools=tools or None,
            temperature=self.temperature,
            top_p=self.top_p,
            max_completion_tokens=self.max_output_tokens,
            reasoning_effort=self.reasoning.effort if self.reasoning else None,
            response_format=self.text.format.sent() if self.text and self.text.format else None,
            **(of_tools if tools else {}),
        )

    def echoed(self) -> JsonObject:
        """What the response says of its request."""
        names = {"reasoning", "text", "tool_choice", "tools"}
        sent = self.model_dump(mode="json", by_alias=True, exclude_unset=True, include=names)
        return {
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "model": self.model or settings().chat_model,
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": (
                shown_id(RESPONSE, self.previous_response_id) if self.previous_response_id else None
            ),
            "reasoning": {"effort": None, "summary": None, **(sent.get("reasoning") or {})},
            "store": self.store is not False,
            "temperature": self.temperature,
            "text": {"format": {"type": "text"}, **(sent.get("text") or {})},
            "tool_choice": sent.get("tool_choice") or "auto",
            "tools": sent.get("tools") or [],
            "top_p": self.top_p,
            "metadata": self.metadata or {},
        }
