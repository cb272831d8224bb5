"""Problems as OpenAI's clients read them."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..http import problems
from ..http.problems import Dialect, Kind

MEDIA_TYPE = "application/json"
CODES = {
    problems.UNAUTHENTICATED: "invalid_api_key",
    problems.IDEMPOTENCY_KEY_REUSED: "idempotency_key_reused",
    problems.REQUEST_IN_PROGRESS: "request_in_progress",
    problems.RESPONSE_TOO_LARGE: "response_too_large",
    problems.MODEL_FAILED: "model_failed",
    problems.UNAVAILABLE: "unavailable",
    problems.RATE_LIMITED: "rate_limit_exceeded",
}
# By the type of what is wrong with a value. A type that is OpenAI's own stays as it is.
UNSUPPORTED, EXCLUSIVE = "unsupported_parameter", "mutually_exclusive_parameters"
NO_PREVIOUS = "previous_response_not_found"
CODES_OF_VALUES = {
    "extra_forbidden": "unknown_parameter",
    "missing": "missing_required_parameter",
    UNSUPPORTED: UNSUPPORTED,
    EXCLUSIVE: EXCLUSIVE,
    NO_PREVIOUS: NO_PREVIOUS,
}


class OpenAIErrorDetail(BaseModel):
    message: str = Field(description="One sentence that tells what to change.")
    type: str = Field(description="`invalid_request_error`, or `server_error` from 500.")
    param: str | None = Field(description="The field that is wrong, such as `items[2].role`.")
    code: str | None


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    model_config = ConfigDict(title="OpenAIError")

    error: OpenAIErrorDetail


def status_of(kind: Kind) -> int:
    if kind is problems.UNKNOWN_PATH:
        return 404
    return 400 if kind.status == 422 else kind.status


def told(kind: Kind, detail: str, extra: dict[str, Any]) -> dict[str, Any]:
    wrong = next(iter(extra.get("errors") or ()), None)
    param = _param(wrong["loc"]) if wrong else None
    if wrong and param:
        detail = detail.replace(".".join(map(str, wrong["loc"])), param)
    return {
        "error": {
            "message": detail,
            "type": "server_error" if kind.status >= 500 else "invalid_request_error",
            "param": param,
            "code": _code_of_value(wrong["type"]) if wrong else CODES.get(kind),
        }
    }


DIALECT = Dialect(MEDIA_TYPE, OpenAIError, status_of, told)


def _param(loc: Sequence[str | int]) -> str | None:
    """A place in a body or a query, as in `items[2].role`."""
    where, *place = loc
    if where == "header" or not place:
        return None
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def _code_of_value(kind: str) -> str:
    is_type = kind.endswith(("_type", "_parsing"))
    return CODES_OF_VALUES.get(kind, "invalid_type" if is_type else "invalid_value")
