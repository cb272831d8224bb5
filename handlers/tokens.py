"""Tokens of users: an app that holds one sees what is that user's, and nothing else."""

from dataclasses import dataclass
from typing import Annotated

from chalice.app import Blueprint
from pydantic import Field

from db import user_tokens

from .http.caller import KeyHolderOnly
from .http.endpoint import ANY, endpoint
from .http.types import Key, Strict, Timestamp, UserId

routes = Blueprint(__name__)

TOKENS = "/api/v1/tokens"


class TokenCreate(Strict):
    user_id: Annotated[UserId, Field(description="Whom it is good for, as X-User-Id has it.")]
    project_id: Annotated[
        Key | None,
        Field(description="Where it is good. Default: where the key is, which may be everywhere."),
    ] = None
    expires_in: Annotated[int, Field(ge=1, le=user_tokens.MAX_SECONDS, description="Seconds.")] = (
        3600
    )


@dataclass(slots=True)
class TokenResponse:
    token: Annotated[
        str, Field(description="For `Authorization: Bearer …`. It is shown this once.")
    ]
    expires_at: Annotated[Timestamp, Field(description="From then on it opens nothing.")]


class TokensQuery(Strict):
    user_id: UserId


@routes.route(TOKENS, methods=["POST"], content_types=ANY)
@endpoint(status=201, is_idempotent=True)
def create_token(caller: KeyHolderOnly, body: TokenCreate) -> TokenResponse:
    """A token for a user of yours, which an app may hold.

    It is good for that user on every route, as `Authorization: Bearer`. It makes no tokens and sets
    no hold. It ends when it expires, when the key is revoked, or by `DELETE`.
    """
    if body.project_id is not None:
        caller = caller.within(body.project_id)
    scope = caller.speaking_for(body.user_id).scope
    made = user_tokens.make(body.user_id, scope.project_id, body.expires_in, caller.key_id)
    return TokenResponse(made.plain, made.row.expires_at)


@routes.route(TOKENS, methods=["DELETE"], content_types=ANY)
@endpoint(status=204)
def end_tokens(caller: KeyHolderOnly, query: TokensQuery) -> None:
    """End the tokens of a user, in what the key opens."""
    scope = caller.speaking_for(query.user_id).scope
    user_tokens.revoke_all(query.user_id, scope.project_id)
