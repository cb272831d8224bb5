"""Contexts: what a model is told of a conversation."""

from dataclasses import dataclass
from typing import Annotated, Any

from chalice.app import Blueprint
from pydantic import Field

from db import context

from .conversations import CONVERSATIONS
from .http.caller import AnyCaller
from .http.endpoint import ANY, SCAN, endpoint
from .http.types import Strict, Uuid

routes = Blueprint(__name__)

MAX_TOKENS = 10_000_000


@dataclass(slots=True)
class ContextResponse:
    messages: Annotated[
        list[dict[str, Any]],
        Field(description="In the shape of OpenAI's `/chat/completions`, oldest first."),
    ]
    tokens: Annotated[
        int, Field(description="An estimate of what they take, rather too high than too low.")
    ]
    dropped: Annotated[
        int,
        Field(description="How many stored messages are left out, as there is no room for them."),
    ]


class ContextQuery(Strict):
    max_tokens: int = Field(
        default=8000,
        ge=1,
        le=MAX_TOKENS,
        description="The budget. System messages and the newest message are there in any case.",
    )
    leaf: Uuid | None = Field(
        None, description="The message with which the branch ends. Default: the active leaf."
    )


@routes.route(CONVERSATIONS + "/{conversation_id}/context", methods=["GET"], content_types=ANY)
@endpoint(waits_for=SCAN)
def get_context(caller: AnyCaller, conversation_id: Uuid, query: ContextQuery) -> ContextResponse:
    """What a model is told: the system messages, and the newest others that fit into a budget.

    A tool call and its results stay together. What no model understands is left out: calls without
    results, results without calls, messages in progress, and parts of unknown types.
    """
    found = context.read(caller.scope, conversation_id, query.max_tokens, query.leaf)
    return ContextResponse(found.messages, found.tokens, found.dropped)
