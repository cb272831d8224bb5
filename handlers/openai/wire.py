"""The shapes that OpenAI's conversations and items have, and their ids.

An item is a message, or a single thing such as the call of a tool. Such a thing is stored as it
comes, in the place of a message (`db.models.Item`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from db.chat_parts import Call
from db.errors import ConversationNotFound, MessageNotFound
from db.messages import Draft
from db.models import (
    COMPLETED,
    IN_PROGRESS,
    INCOMPLETE,
    ConversationRow,
    Item,
    MessageRow,
)
from db.openai_ids import CONVERSATION, item_id, shown_id

from ..http.types import LIST, ONE, Strict, Text, one_or_list, without_nul
from .errors import UNSUPPORTED

JsonObject = dict[str, Any]

# --- Ids

_ID = re.compile(
    r"(?:[a-z]+_)?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})"
)


def id_in(text: str) -> str | None:
    """Our id in one that a client sends. Its prefix does not matter, nor does the spelling."""
    found = _ID.fullmatch(text.lower())
    return "-".join(found.groups()) if found else None


def _id_or(error: Callable[[str], Exception]) -> AfterValidator:
    """Takes our id out of one that a client sends. Raises an `error` for what cannot be one."""

    def our_id(text: str) -> str:
        if (id := id_in(text)) is None:
            raise error(text)
        return id

    return AfterValidator(our_id)


def _no_id(text: str) -> ValueError:
    return ValueError("must be an id, as answers have them")


_CONVERSATION_ID = WithJsonSchema({"type": "string", "examples": [f"conv_{'0' * 32}"]})
# In a path. What cannot be one is not there.
ConversationId = Annotated[str, _id_or(ConversationNotFound), _CONVERSATION_ID]
ItemId = Annotated[str, _id_or(MessageNotFound), WithJsonSchema({"type": "string"})]
# In a query or a body.
Cursor = Annotated[
    str,
    _id_or(_no_id),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^([a-z]+_)?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$",
            "examples": [f"msg_{'0' * 32}"],
        }
    ),
]


def seconds(moment: str) -> int:
    """A time of ours in Unix seconds."""
    return int(datetime.fromisoformat(moment).timestamp())


# --- Metadata

MAX_PAIRS, MAX_NAME, MAX_VALUE = 16, 64, 512
_Name = Annotated[Text, Field(max_length=MAX_NAME)]
_Value = Annotated[Text, Field(max_length=MAX_VALUE)]
Metadata = Annotated[
    dict[_Name, _Value],
    Field(
        max_length=MAX_PAIRS,
        description="At most 16 pairs of strings, of at most 64 and 512 characters.",
    ),
]


def shown_metadata(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """The pairs of a conversation's metadata that OpenAI's could have."""
    fitting = [pair for pair in (metadata or {}).items() if _fits(*pair)]
    return dict(fitting[:MAX_PAIRS])


def _fits(name: str, value: Any) -> bool:
    return isinstance(value, str) and len(name) <= MAX_NAME and len(value) <= MAX_VALUE


def with_metadata(before: Mapping[str, Any] | None, pairs: Mapping[str, str]) -> dict[str, Any]:
    """A conversation's metadata when these pairs take the place of all that OpenAI could have."""
    hidden = {name: value for name, value in (before or {}).items() if not _fits(name, value)}
    return {**pairs, **{name: value for name, value in hidden.items() if name not in pairs}}


# --- Items that are sent


class _ItemOfType(BaseModel):
    """What of an item is checked. All else of it is kept as it is."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class _Part(_ItemOfType):
    type: str


class _Message(_ItemOfType):
    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[
        Annotated[Text, Tag(ONE)] | Annotated[list[_Part], Field(fail_fast=True), Tag(LIST)],
        Discriminator(one_or_list),
    ]
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class _FunctionCall(_ItemOfType):
    type: Literal["function_call"]
    call_id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    arguments: str


class _FunctionCallOutput(_ItemOfType):
    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(min_length=1)]
    output: Annotated[
        Annotated[str, Tag(ONE)]
        | Annotated[list[dict[str, Any]], Field(fail_fast=True), Tag(LIST)],
        Discriminator(one_or_list),
    ]


class _Other(_ItemOfType):
    type: str


def _tag_of(item: Any) -> str:
    """The tags cannot be keys of an item: so a place in it is told without them."""
    fields = item if isinstance(item, Mapping) else {}
    kind = fields.get("type", "message" if "role" in fields else None)
    return f"<{kind}>" if kind in ("message", *_WITH_STATUS) else "<other>"


def _as_it_is(item: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """What was sent, if it passes the check: nothing of it is lost, not even the order."""
    check(item)
    if item.get("type") == "item_reference":
        raise ValueError("an item_reference is not taken: send the item itself")
    for text in _texts_in(item):
        without_nul(text)
    return item


def _texts_in(value: Any) -> Iterator[str]:
    """All texts in a JSON value, the names among them."""
    rest = [value]
    while rest:
        match rest.pop():
            case str(text):
                yield text
            case dict(members):
                rest += [*members, *members.values()]
            case list(members):
                rest += members


def _schema(required: Sequence[str], **properties: Any) -> JsonObject:
    return {"type": "object", "required": [*required], "properties": properties}


_TEXT: JsonObject = {"type": "string", "minLength": 1}
_CHECKED = ("message", "function_call", "function_call_output", "item_reference")
_ANY_ITEM: JsonObject = {
    "description": "A message, or an item of any other type, which is given back as it is.",
    "anyOf": [
        _schema(
            ("role", "content"),
            type={"const": "message"},
            role={"enum": ["user", "assistant", "system", "developer"]},
            content={
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": _schema(["type"], type={"type": "string"})},
                ]
            },
            status={"enum": [IN_PROGRESS, COMPLETED, INCOMPLETE, None]},
        ),
        _schema(
            ("type", "call_id", "name", "arguments"),
            type={"const": "function_call"},
            call_id=_TEXT,
            name=_TEXT,
            arguments={"type": "string"},
        ),
        _schema(
            ("type", "call_id", "output"),
            type={"const": "function_call_output"},
            call_id=_TEXT,
            output={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
        ),
        _schema(["type"], type={"type": "string", "not": {"enum": [*_CHECKED]}}),
    ],
}
SentItem = Annotated[
    Annotated[
        Annotated[_Message, Tag("<message>")]
        | Annotated[_FunctionCall, Tag("<function_call>")]
        | Annotated[_FunctionCallOutput, Tag("<function_call_output>")]
        | Annotated[_Other, Tag("<other>")],
        Discriminator(_tag_of),
    ],
    WrapValidator(_as_it_is),
    WithJsonSchema(_ANY_ITEM),
]

# Of a message: what has a place of its own in a row, or is made anew.
_OF_MESSAGES = frozenset({"id", "type", "role", "content", "status"})
# In the metadata of a message: what else of an item was sent.
ITEM = "item"


def draft_of(item: Any) -> Draft:
    """A `SentItem` as it is stored. (The check of its type leaves it as it was: an object.)"""
    type = item.get("type", "message")
    if type != "message":
        is_answer = type.endswith("_output") or type == "mcp_approval_response"
        return Draft("tool" if is_answer else "assistant", Item([item]))
    rest = {name: value for name, value in item.items() if name not in _OF_MESSAGES}
    role = item["role"]
    if role == "developer":
        role, rest = "system", {"role": role, **rest}
    status = item.get("status") or COMPLETED
    return Draft(
        role=role,
        content=item["content"],
        status=INCOMPLETE if status == IN_PROGRESS else status,
        metadata={ITEM: rest} if rest else None,
    )


def draft_of_call(call: Call) -> Draft:
    """The call of a tool, as a model makes it."""
    return draft_of(call_item(call))


def call_item(call: Call) -> JsonObject:
    return {
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": COMPLETED,
    }


# --- Items that are shown

ShownItem = Annotated[
    JsonObject,
    WithJsonSchema(
        {
            "type": "object",
            "required": ["id", "type"],
            "properties": {"id": {"type": "string"}, "type": {"type": "string"}},
        }
    ),
]
# They have a status even if none was sent.
_WITH_STATUS = ("function_call", "function_call_output")


def shown_item(row: MessageRow) -> JsonObject:
    match row.content:
        case Item([{"type": str(type)} as item]):
            ours = item_id(type, row.id)
            shown = {**item, "id": ours} if "id" in item else {"id": ours, **item}
            if type in _WITH_STATUS and not shown.get("status"):
                shown["status"] = COMPLETED
            return shown
    rest = (row.metadata or {}).get(ITEM)
    fields = dict(rest) if isinstance(rest, dict) else {}
    role = "developer" if row.role == "system" and fields.get("role") == "developer" else row.role
    return {
        **message_item(row.id, role, row.content, row.status),
        **{name: value for name, value in fields.items() if name not in _OF_MESSAGES},
    }


def message_item(id: str, role: str, content: str | list[Any], status: str) -> JsonObject:
    return {
        "id": item_id("message", id),
        "type": "message",
        "status": status,
        "role": role,
        "content": [text_part(role, content)] if isinstance(content, str) else content,
    }


def text_part(role: str, text: str) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


@dataclass(slots=True)
class ItemList:
    __pydantic_config__: ClassVar = ConfigDict(title="OpenAIItemList")

    object: Literal["list"]
    data: list[ShownItem]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, rows: Sequence[MessageRow], has_more: bool = False) -> Self:
        data = [shown_item(row) for row in rows]
        first_id, last_id = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return cls("list", data, first_id, last_id, has_more)


# --- Conversations


@dataclass(slots=True)
class OpenAIConversation:
    id: str
    object: Literal["conversation"]
    created_at: Annotated[int, Field(description="Unix time in seconds.")]
    metadata: dict[str, str]
    title: str | None
    updated_at: int
    is_archived: bool

    @classmethod
    def of(cls, row: ConversationRow) -> Self:
        return cls(
            id=shown_id(CONVERSATION, row.id),
            object="conversation",
            created_at=seconds(row.created_at),
            metadata=shown_metadata(row.metadata),
            title=row.title,
            updated_at=seconds(row.updated_at),
            is_archived=bool(row.is_archived),
        )


@dataclass(slots=True)
class DeletedConversation:
    id: str
    object: Literal["conversation.deleted"]
    deleted: bool


@dataclass(slots=True)
class OpenAIConversationList:
    object: Literal["list"]
    data: list[OpenAIConversation]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, rows: Sequence[ConversationRow], has_more: bool) -> Self:
        data = [OpenAIConversation.of(row) for row in rows]
        first_id, last_id = (data[0].id, data[-1].id) if data else (None, None)
        return cls("list", data, first_id, last_id, has_more)


# --- What the clients send along

Include = Annotated[
    Any, Field(description="Taken, and changes nothing: all that is stored is shown.")
]


class IncludeQuery(Strict):
    include: Include = None
    includes: Include = Field(default=None, alias="include[]")


def _refuse(value: Any) -> Any:
    if value is not None and value is not False:
        raise PydanticCustomError(UNSUPPORTED, "is not supported: leave it out")
    return None


Unsupported = Annotated[
    Any,
    AfterValidator(_refuse),
    WithJsonSchema({"anyOf": [{"type": "null"}, {"const": False}], "description": "Not here."}),
]
