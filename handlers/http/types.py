"""Types of values that several resources share."""

import re
import time
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError


class Strict(BaseModel):
    """Input. An unknown field is an error, since its value would be lost."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


# The default of a field that stays as it is when it is absent. It is a factory, so that the OpenAPI
# document does not show a default.
ABSENT: Any = Field(default_factory=lambda: None)


def changes(patch: BaseModel) -> dict[str, Any]:
    """The fields that were sent, with their values."""
    return {name: getattr(patch, name) for name in patch.model_fields_set}


def without_nul(text: str) -> str:
    """Refuse NUL: PostgreSQL cannot store it, and SQLite's own functions stop at it."""
    if "\0" in text:
        raise ValueError("must not contain the NUL character (U+0000)")
    return text


# The tags of a value that may be one thing or a list. So Pydantic tries the right type only.
ONE, LIST = "<one>", "<list>"


def one_or_list(value: object) -> str:
    return LIST if isinstance(value, list) else ONE


def _uuid(text: str) -> str:
    if _CANONICAL.fullmatch(text):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        raise PydanticCustomError("uuid", "must be a UUID") from None


_CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# Any text but NUL.
Text = Annotated[
    str,
    AfterValidator(without_nul),
    WithJsonSchema({"type": "string", "pattern": r"^[^\u0000]*$"}),
]

# A UUID as the store has it: lower case, with hyphens.
Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]

# In any of its spellings, made an Id.
Uuid = Annotated[Id, AfterValidator(_uuid)]


def _title(title: str) -> str:
    title = without_nul(title).strip()
    if not title:
        raise ValueError("must not be blank")
    if len(title) > 255:
        raise ValueError("must have at most 255 characters")
    return title


# Not NUL, and not blank. `strip` takes the separators U+001C to U+001F and U+0085 for white space,
# and ECMA-262's `\s` does not.
_NOT_BLANK = r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$"

Title = Annotated[
    str,
    AfterValidator(_title),
    WithJsonSchema({"type": "string", "pattern": _NOT_BLANK, "maxLength": 255}),
]


def _within(max_length: int) -> AfterValidator:
    """The check of a text that a caller chooses to name something."""

    def check(name: str) -> str:
        name = without_nul(name)
        if not 1 <= len(name) <= max_length:
            raise ValueError(f"must have 1 to {max_length} characters")
        return name

    return AfterValidator(check)


def _not_blank(name: str) -> str:
    if not name.strip():
        raise ValueError("must not be blank")
    return name


def _schema(max_length: int, pattern: str = r"^[^\u0000]*$") -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": pattern}
    )


# The caller's own name of a conversation; the client's own name of a message; as in X-User-Id.
Key = Annotated[str, _within(255), _schema(255)]
ClientId = Annotated[str, _within(64), _schema(64)]
UserId = Annotated[str, _within(255), AfterValidator(_not_blank), _schema(255, _NOT_BLANK)]


def _tag(tag: str) -> str:
    tag = without_nul(tag).strip()
    if not 1 <= len(tag) <= 64:
        raise ValueError("must have 1 to 64 characters")
    return tag


Tag = Annotated[
    str,
    AfterValidator(_tag),
    WithJsonSchema({"type": "string", "pattern": _NOT_BLANK, "maxLength": 64}),
]
# A tag that comes twice is one.
Tags = Annotated[
    list[Tag], Field(max_length=16), AfterValidator(lambda tags: [*dict.fromkeys(tags)])
]

FUTURE_MILLISECONDS = 86_400_000  # by which a client's clock may be ahead


def _uuid7(text: str) -> str:
    if text[14] != "7" or text[19] not in "89ab":
        raise PydanticCustomError("uuid_version", "must be a UUIDv7")
    milliseconds = int(text[:8] + text[9:13], 16)
    if milliseconds > time.time() * 1000 + FUTURE_MILLISECONDS:
        raise PydanticCustomError("uuid_time", "must be a UUIDv7 whose time is not in the future")
    return text


# An Id that a client may choose for what it makes. It sorts by age, as all ids do.
Uuid7 = Annotated[
    Uuid,
    AfterValidator(_uuid7),
    WithJsonSchema(
        {
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        }
    ),
]

# RFC 3339, UTC, milliseconds. As text, since that is how it is stored and shown.
Timestamp = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-21T20:22:08.904Z"])
]


class Cursors(Strict):
    """Paging by id. The row that an id names may since have been deleted."""

    after: Uuid | None = Field(None, description="The page behind this id. Not with `before`.")
    before: Uuid | None = Field(None, description="The page before this id. Not with `after`.")

    @model_validator(mode="after")
    def not_both(self) -> "Cursors":
        if self.after and self.before:
            raise ValueError("after and before cannot be combined")
        return self
