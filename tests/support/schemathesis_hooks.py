"""What schemathesis must know of the service beyond the OpenAPI document. Each has its reason."""

import os
import re
from itertools import count
from typing import Any
from uuid import UUID

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

KEY, USER = "Idempotency-Key", "X-User-Id"
# Refusals of requests that OpenAPI cannot tell from good ones.
REFUSALS = (
    "Only text can be in_progress",  # a PATCH of the status, where the stored content is parts
    "content, or the parent_id of a question, is required",
    "client_id and metadata belong to a question",
    "either all messages of a batch have a client_id",
    "the client_ids of a batch must differ",
    "key differs from the path's",
    "bytes as JSON: send at most 16,384",
    "must be a UUIDv7 whose time is not in the future",
    "the ids of messages must differ",
    "messages and message cannot be combined",
    # What these say depends on what is stored in the chat, or on the key.
    "There is no question: send messages",
    "The last message must be a user's",
    "The last message has the id of one that is no question",
    "Only a question can be answered again",
    "messageId must name a message of this chat",
    "Send a project_id, or a key of one project",
    "There is nothing to answer",
    "has been deleted: make a new client_id",
    "is not stored, or not any more",  # a response: no link leads to a body
    "conversation and previous_response_id cannot be combined",
    "must not contain the NUL character",  # in an item, however deep
    "a json_schema needs a name and a schema",
    "cursor belongs to a list with another sort or filter",  # a link is inferred from its name
)
_keys = count(1)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Before OpenAPI 3.2, the schema of an event stream is that of its whole text.

    Schemathesis takes it for the schema of each event.
    """
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                response.get("content", {}).get("text/event-stream", {}).pop("schema", None)


@schemathesis.hook
def before_call(context: Any, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    if case.meta is None:
        return
    is_positive = case.meta.generation.mode.is_positive
    if is_positive:
        if KEY in case.headers:  # generated keys repeat, with other bodies
            case.headers[KEY] = f"{case.headers[KEY][:240]}-{next(_keys)}"
        if case.headers.get("If-Match") == "":  # it is sent against the header's pattern
            del case.headers["If-Match"]
        if "after" in case.query:  # OpenAPI cannot say that the two exclude each other
            case.query.pop("before", None)
        case.query.pop("cursor", None)  # it is opaque, and comes from a Link header
        if case.path == "/api/v1/changes":  # so is this one, which comes from the page before
            case.query.pop("after", None)
        _forget_messages(case.body)
    if not case.path.startswith("/v1/"):  # links are inferred from names, and ids look otherwise
        for name, value in case.path_parameters.items():
            if re.fullmatch(r"[a-z]+_[0-9a-f]{32}", str(value)):
                case.path_parameters[name] = str(UUID(value[-32:]))
    if case.meta.phase.name.value == "stateful" and "sso" not in case.path:
        # What one user makes does not exist for another one.
        case.headers.pop(USER, None)
    # No link leads to the body of a chat, and few lead from a conversation to its project's paths.
    if case.path == "/api/v1/chat" and _has_uuid(case.body):
        case.body["conversation_id"] = os.environ["CONVERSATION_ID"]
    if case.path.endswith(("/archive", "/rename")) and is_positive:
        case.headers.pop(USER, None)
        case.path_parameters["project_id"] = os.environ["PROJECT_ID"]
        case.path_parameters["conversation_id"] = os.environ["CONVERSATION_ID"]


def _forget_messages(body: Any) -> None:
    """Take out ids of messages that the conversation does not have. No link leads to a body."""
    for part in body if isinstance(body, list) else [body]:
        if isinstance(part, dict):
            for name in ("parent_id", "last_message_id"):
                if part.get(name) is not None:
                    del part[name]
            _forget_messages(part.get("messages"))


def _has_uuid(body: Any) -> bool:
    try:
        UUID(body["conversation_id"])
    except (TypeError, KeyError, ValueError, AttributeError):
        return False
    return True


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Whether it is one."""
    if isinstance(failure, RejectedPositiveData):
        return not any(refusal in response.text for refusal in REFUSALS)
    if isinstance(failure, UseAfterFree):  # it does not know that what was deleted can be restored
        return False
    if isinstance(failure, AcceptedNegativeData):
        # An unknown header is ignored, as in all of HTTP.
        return "x-schemathesis-unknown-property" not in case.headers
    return True
