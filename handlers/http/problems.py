"""Errors on the wire: RFC 9457 problems, and the one table from exceptions to statuses."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from chalice.app import Response
from pydantic import BaseModel

from db import errors
from db.engine.database import cause_of, is_away, unavailable

from .logs import log, words_of

MEDIA_TYPE = "application/problem+json"
INTERNAL_DETAIL = "An internal error. Report X-Request-Id: the log has all of it under this id."
UNAVAILABLE_DETAIL = "Repeat the request shortly, with its Idempotency-Key if it has one."


class Kind(NamedTuple):
    """A type of problem. `/problems/{slug}` stays the same as long as it has this meaning."""

    status: int
    slug: str
    title: str

    @property
    def type(self) -> str:
        return f"/problems/{self.slug}"


MALFORMED = Kind(400, "malformed-json", "The body is not JSON")
MALFORMED_REQUEST = Kind(400, "malformed-request", "The request is not HTTP/1.1")
REPEATED_HEADER = Kind(400, "repeated-header", "A header was sent more than once")
UNAUTHENTICATED = Kind(401, "unauthenticated", "A valid API key or token is needed")
NOT_SIGNED_ON = Kind(401, "not-signed-on", "A signed-on user is needed")
OTHER_PROJECT = Kind(403, "other-project", "The key or token is for another project")
OTHER_USER = Kind(403, "other-user", "The request speaks for another user")
READ_ONLY = Kind(403, "read-only", "The API key only reads")
KEY_NEEDED = Kind(403, "key-needed", "A user's token cannot do this")
HOLD_NOT_ALLOWED = Kind(403, "hold-not-allowed", "A user cannot set or lift a hold")
UNKNOWN_PATH = Kind(403, "unknown-path", "No such path")
NO_CONVERSATION = Kind(404, "conversation-not-found", "No such conversation")
NO_MESSAGE = Kind(404, "message-not-found", "No such message")
NO_PAGE = Kind(404, "page-not-found", "No such page")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "The route has no such method")
REQUEST_TIMEOUT = Kind(408, "request-timeout", "The request did not come to its end")
OFFSET_CONFLICT = Kind(409, "offset-conflict", "The offset is not the end of the text")
STREAM_FINISHED = Kind(409, "stream-finished", "The message is not in progress")
REQUEST_IN_PROGRESS = Kind(409, "request-in-progress", "The first request still runs")
KEY_TAKEN = Kind(409, "key-taken", "Another conversation has the key")
CLIENT_ID_REUSED = Kind(409, "client-id-reused", "The client_id belongs to another message")
HELD = Kind(409, "held", "The conversation is held")
CURSOR_EXPIRED = Kind(410, "cursor-expired", "The reader was away for too long")
MESSAGE_DELETED = Kind(410, "message-deleted", "The message has been deleted")
STALE_PRECONDITION = Kind(412, "stale-precondition", "The conversation has changed")
PAYLOAD_TOO_LARGE = Kind(413, "payload-too-large", "The body is too large")
UNSUPPORTED_MEDIA_TYPE = Kind(415, "unsupported-media-type", "The body must be JSON")
MISDIRECTED = Kind(421, "misdirected-request", "The function serves another route")
INVALID = Kind(422, "invalid", "The request is well-formed but invalid")
IDEMPOTENCY_KEY_REUSED = Kind(
    422, "idempotency-key-reused", "The Idempotency-Key belongs to another request"
)
RESPONSE_TOO_LARGE = Kind(422, "response-too-large", "The answer is too large")
RATE_LIMITED = Kind(429, "rate-limited", "Too many requests")
HEAD_TOO_LARGE = Kind(431, "head-too-large", "The head of the request is too large")
INTERNAL = Kind(500, "internal", "Internal error")
UNKNOWN_CODING = Kind(501, "unknown-coding", "The body's Transfer-Encoding is not known")
MODEL_FAILED = Kind(502, "model-failed", "The model did not answer to the end")
UNAVAILABLE = Kind(503, "unavailable", "The database is busy or away")
SIGN_ON_UNAVAILABLE = Kind(
    503, "sign-on-unavailable", "The identity provider does not give its keys"
)

# An error is looked up by its class, then by the class's ancestors.
KINDS: dict[type[BaseException], Kind] = {
    errors.ConversationNotFound: NO_CONVERSATION,
    errors.MessageNotFound: NO_MESSAGE,
    errors.Invalid: INVALID,
    errors.OffsetConflict: OFFSET_CONFLICT,
    errors.StreamFinished: STREAM_FINISHED,
    errors.RequestInProgress: REQUEST_IN_PROGRESS,
    errors.KeyTaken: KEY_TAKEN,
    errors.ClientIdReused: CLIENT_ID_REUSED,
    errors.Held: HELD,
    errors.CursorExpired: CURSOR_EXPIRED,
    errors.MessageDeleted: MESSAGE_DELETED,
    errors.StalePrecondition: STALE_PRECONDITION,
    errors.IdempotencyKeyReused: IDEMPOTENCY_KEY_REUSED,
    errors.Unavailable: UNAVAILABLE,
}


class Dialect(NamedTuple):
    """How a part of the API tells problems, if not as RFC 9457 has it."""

    media_type: str
    body: type[BaseModel]  # for the OpenAPI document
    status_of: Callable[[Kind], int]
    # The body of a problem: its kind, its detail, and the further members that ours has.
    told: Callable[[Kind, str, dict[str, Any]], dict[str, Any]]


# By the beginning of the paths that speak it.
dialects: dict[str, Dialect] = {}


def dialect_of(path: str) -> Dialect | None:
    """The dialect of a path, or of a pattern of paths."""
    return next((dialects[start] for start in dialects if f"{path}/".startswith(start)), None)


class TextResponse(Response):
    """A response whose body is text. Chalice looks for bytes by the media type, for 3 µs."""

    def to_dict(self, binary_types: list[str] | None = None) -> dict[str, Any]:
        return super().to_dict(None)


class Problem(Exception):
    """An error that the HTTP layer itself finds. It may be raised anywhere under an endpoint."""

    def __init__(
        self, kind: Kind, detail: str, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.kind, self.headers, self.extra = kind, headers or {}, extra


def problem_response(error: Exception, request_id: str, path: str = "") -> Response:
    """The answer to an exception. One that is our fault is logged whole and told briefly."""
    if isinstance(error, Problem):
        return _response(error.kind, str(error), request_id, path, error.headers, error.extra)
    error = _ours(error)
    kind = next((KINDS[c] for c in type(error).__mro__ if c in KINDS), INTERNAL)
    if isinstance(error, errors.Invalid):
        told = {"loc": ["body", error.field], "msg": str(error), "type": "value_error"}
        return _response(kind, str(error), request_id, path, {}, {"errors": [told]})
    if isinstance(error, errors.StoreError):
        return _response(kind, str(error), request_id, path, {}, error.extra)
    if kind is UNAVAILABLE:
        log.error(cause_of(error.__cause__ or error), extra={"request_id": request_id})
        return _response(kind, UNAVAILABLE_DETAIL, request_id, path, {"Retry-After": "1"}, {})
    log.error(words_of(error), exc_info=error, extra={"request_id": request_id})
    return _response(kind, INTERNAL_DETAIL, request_id, path, {}, {})


def _ours(error: Exception) -> Exception:
    """The error, or what it is to the service if a driver raised it while rows were fetched."""
    if not is_away(error):
        return error
    ours = unavailable(error)
    ours.__cause__ = error
    return ours


def chalice_problem(response: Response, request_id: str, path: str) -> Response:
    """Chalice's own 4xx and 5xx answers in our shape."""
    if response.status_code == 405:
        detail = f"Use one of: {response.headers['Allow']}."
        return _response(METHOD_NOT_ALLOWED, detail, request_id, path, response.headers, {})
    return _response(INTERNAL, INTERNAL_DETAIL, request_id, path, {}, {})


def _response(
    kind: Kind,
    detail: str,
    request_id: str,
    path: str,
    headers: dict[str, Any],
    extra: dict[str, Any],
) -> Response:
    status, media_type = kind.status, MEDIA_TYPE
    body: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": request_id,
        **extra,
    }
    if (dialect := dialect_of(path)) is not None:
        status, media_type = dialect.status_of(kind), dialect.media_type
        body = dialect.told(kind, detail, extra)
    return TextResponse(
        body=json.dumps(body, ensure_ascii=False),
        status_code=status,
        headers={**headers, "Content-Type": media_type},
    )
