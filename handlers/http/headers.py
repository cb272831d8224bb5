"""Every header that the service reads or sends. The checks, the OpenAPI document and the two lists
of CORS are made from these tables."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from chalice.app import CORSConfig
from pydantic import BaseModel, ConfigDict, Field

from db.scope import NO_PROJECT

from .problems import INVALID, REPEATED_HEADER, Problem


class RequestHeader(NamedTuple):
    """A header that a client may send."""

    name: str
    description: str
    max_length: int | None = None  # characters, of those that are stored or indexed

    def field(self, default: Any = ..., **constraints: Any) -> Any:
        """The field of a Pydantic model that takes this header."""
        if self.max_length is not None:
            constraints |= {"min_length": 1, "max_length": self.max_length, "pattern": r"\S"}
        return Field(default, alias=self.name, description=self.description, **constraints)

    def checked(self, value: str) -> str:
        """The header's value as text. Raises Problem 422 if it cannot be one."""
        value = _utf8(value)
        if not value.strip():
            raise self._invalid("must not be blank", "blank")
        if "\0" in value:
            raise self._invalid("must not contain the NUL character (U+0000)", "nul")
        if self.max_length is not None and len(value) > self.max_length:
            raise self._invalid(f"must have at most {self.max_length} characters", "too_long")
        return value

    def _invalid(self, message: str, kind: str) -> Problem:
        error = {"loc": ["header", self.name], "msg": message, "type": kind}
        detail = f"{self.name} {message}: send another value, or leave the header out."
        return Problem(INVALID, detail, errors=[error])


def _utf8(value: str) -> str:
    """Python's HTTP servers hand over headers as Latin-1, API Gateway as the UTF-8 they were."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


class Headers(BaseModel):
    """The request headers that an endpoint takes, by their aliases. It ignores all others."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, defer_build=True)


ACCEPT = RequestHeader("Accept", "`text/event-stream` asks for the events.")
API_KEY = RequestHeader("X-API-Key", "Opens one project, or all of them.")
IDEMPOTENCY_KEY = RequestHeader(
    "Idempotency-Key",
    "The caller's own name for this request. If it is repeated with the same body within 24 hours, "
    "it is answered the same and done once.",
    max_length=255,
)
AUTHORIZATION = RequestHeader("Authorization", "`Bearer` and a token, or an API key.")
IF_MATCH = RequestHeader("If-Match", "Change it only if this is its ETag.")
IF_NONE_MATCH = RequestHeader("If-None-Match", "Answer 304 if this is still its ETag.")
LAST_EVENT_ID = RequestHeader(
    "Last-Event-ID", "The id of the last event seen, or the number in a conversation's ETag."
)
USER_ID = RequestHeader(
    "X-User-Id",
    "The end user that the key's holder speaks for. Then only this user's conversations exist, and "
    "new ones are this user's. If it is absent: all of the project.",
    max_length=255,  # it is part of indexes, where PostgreSQL takes 2,704 bytes
)
OPENAI_PROJECT = RequestHeader(
    "OpenAI-Project",
    "The project, if the key opens all of them. Without it, conversations are found in all of "
    f"these, and made in {NO_PROJECT}.",
    max_length=255,
)
REQUEST_HEADERS = (
    ACCEPT, API_KEY, AUTHORIZATION, IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH, LAST_EVENT_ID,
    OPENAI_PROJECT, USER_ID,
)  # fmt: skip
# What OpenAI's clients send beside these. A browser asks whether it may.
IGNORED_HEADERS = (
    "OpenAI-Organization",
    *(
        f"X-Stainless-{name}"
        for name in (
            *("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version"),
            *("Retry-Count", "Timeout", "Helper-Method"),
        )
    ),
)
# W3C Trace Context: what a page with OpenTelemetry sends, in which our spans go on.
TRACE_HEADERS = ("traceparent", "tracestate")

# Sent twice, each of these would mean one thing here and another behind some proxy. RFC 9110 lets
# the lines of If-Match and If-None-Match be joined into one list. They are refused nevertheless: it
# is one rule for all, and a client can always send the list in one line. Accept's last line counts.
SENT_ONCE = {
    name.lower(): name
    for name in (
        *(header.name for header in REQUEST_HEADERS if header is not ACCEPT),
        "Content-Type",
    )
}


def refuse_repeated(sent: Mapping[str, list[str]]) -> None:
    """Raises Problem 400 if a header came more than once, even with the same value.

    `sent` has all values of each header, as API Gateway's `multiValueHeaders`.
    """
    seen: set[str] = set()
    for name, values in sent.items():
        once = SENT_ONCE.get(name.lower())
        if once is None:
            continue
        if len(values) > 1 or once in seen:  # API Gateway may keep two spellings apart
            raise Problem(REPEATED_HEADER, f"{once} came more than once: send it once.")
        seen.add(once)


IDEMPOTENT_REPLAYED = "Idempotent-Replayed"
RATE_LIMIT, RATE_LIMIT_POLICY = "RateLimit", "RateLimit-Policy"
REQUEST_ID = "X-Request-Id"
SHOULD_RETRY = "x-should-retry"
UI_MESSAGE_STREAM = "x-vercel-ai-ui-message-stream"
# What the service sends beside Content-Type and CORS's own, by name.
RESPONSE_HEADERS = {
    "Accept": "The media type to send.",
    "Cache-Control": "`no-cache` for a page, and for a response whose parts are sent as they come. "
    "A page's files have a year.",
    "Content-Disposition": "The name of a file that is exported (RFC 6266).",
    "Content-Security-Policy": "What a page may load: what this service serves. The console "
    "may also ask the identity provider for a token.",
    "ETag": "The conversation's version, for If-Match and If-None-Match; or a page's.",
    IDEMPOTENT_REPLAYED: "`true` if this is the answer to an earlier request with the same key.",
    "Link": 'The neighbouring pages, `rel="next"` and `rel="prev"` (RFC 8288).',
    "Location": "Where the new thing is.",
    RATE_LIMIT: "With a RATE_LIMIT: how many requests may follow (`r`), and the seconds until all "
    "may (`t`).",
    RATE_LIMIT_POLICY: "With a RATE_LIMIT: how many requests (`q`) in how many seconds (`w`).",
    "Referrer-Policy": "`no-referrer`: a link that leads away does not tell from where.",
    "Retry-After": "Seconds to wait before the request is repeated.",
    "WWW-Authenticate": "How to say who is calling.",
    "X-Content-Type-Options": "`nosniff`: it is of the type that it says.",
    "X-Accel-Buffering": "`no`: it tells nginx to pass on each part at once.",
    REQUEST_ID: "The request's id. The log has it, too.",
    SHOULD_RETRY: "`false`: do not repeat the request, for something of it is stored.",
    UI_MESSAGE_STREAM: "`v1`, the version of the AI SDK's UI message stream.",
}
REPLAYED = {IDEMPOTENT_REPLAYED: "true"}


class _CORS(CORSConfig):
    """Chalice asks for these headers with each request, and to make them takes 2 µs."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._headers = super().get_access_control_headers()

    def get_access_control_headers(self) -> dict[str, str]:
        return self._headers.copy()


CORS = _CORS(
    # Chalice adds these two by itself, in its own spelling.
    allow_headers=[
        *(header.name for header in REQUEST_HEADERS if header not in (API_KEY, AUTHORIZATION)),
        *IGNORED_HEADERS,
        *TRACE_HEADERS,
    ],
    expose_headers=list(RESPONSE_HEADERS),
    max_age=86_400,
)


def accepts(accept: str, media_type: str) -> bool:
    """Whether an Accept header names a media type, and not to refuse it (RFC 9110, 12.5.1)."""
    for each in accept.lower().split(","):
        name, *parameters = (part.replace(" ", "") for part in each.split(";"))
        if name == media_type:
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False
