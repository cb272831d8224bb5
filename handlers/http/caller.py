"""Who is calling: the API key's project, and the end user that the key's holder vouches for."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from db.api_key import ApiKey
from db.scope import Scope
from db.settings import settings

from .problems import INVALID, NOT_SIGNED_ON, OTHER_PROJECT, UNAUTHENTICATED, Problem

MAX_USER_ID = 255  # it is part of indexes, where PostgreSQL takes 2,704 bytes


class Caller(NamedTuple):
    """Whose conversations the request may touch, and by which key (None on an open stage)."""

    scope: Scope
    key_id: str | None = None

    def within(self, project_id: str) -> Scope:
        """The caller's part of one project. Raises Problem 403 if the key is for another."""
        if self.scope.project_id not in (None, project_id):
            raise Problem(OTHER_PROJECT, f"The API key does not open project {project_id}.")
        return Scope(project_id, self.scope.user_id)


class Authentication(NamedTuple):
    """What a route asks of its caller."""

    key_always: bool = False  # also where the stage is open
    user_always: bool = False


# In a signature: whoever may call; the holder of a key; a key's holder speaking for one user.
AnyCaller = Annotated[Caller, Authentication()]
KeyHolder = Annotated[Caller, Authentication(key_always=True)]
SignedOnUser = Annotated[Caller, Authentication(key_always=True, user_always=True)]


def authenticate(headers: Mapping[str, str], need: Authentication) -> Caller:
    """Raises Problem 401, or 422 for an X-User-Id that cannot be one."""
    user_id = _user_id(headers.get("x-user-id"))
    if need.user_always and not user_id:
        raise _unauthenticated(NOT_SIGNED_ON, "Send the signed-on user's id as X-User-Id.")
    if user_id is not None and (not user_id.strip() or "\0" in user_id):
        # A proxy that sends the header empty for strangers must not show them the whole project.
        raise Problem(
            INVALID,
            "X-User-Id must not be blank: leave it out to act for the whole project.",
            errors=[{"loc": ["header", "X-User-Id"], "msg": "must not be blank", "type": "blank"}],
        )
    if user_id is not None and len(user_id) > MAX_USER_ID:
        raise Problem(
            INVALID,
            f"X-User-Id must have at most {MAX_USER_ID} characters.",
            errors=[{"loc": ["header", "X-User-Id"], "msg": "is too long", "type": "too_long"}],
        )
    plain = headers.get("x-api-key")
    if plain is None:
        if need.key_always or settings().require_api_key:
            raise _unauthenticated(UNAUTHENTICATED, "Send your API key as X-API-Key.")
        return Caller(Scope(None, user_id))
    key = ApiKey.find(plain)
    if key is None:
        raise _unauthenticated(
            UNAUTHENTICATED, "The API key in X-API-Key is not known, or was revoked."
        )
    return Caller(Scope(key.project_id, user_id), key.id)


def _unauthenticated(kind: object, detail: str) -> Problem:
    return Problem(kind, detail, {"WWW-Authenticate": 'ApiKey realm="confab", header="X-API-Key"'})  # type: ignore[arg-type]


def _user_id(header: str | None) -> str | None:
    """Python's HTTP servers hand over headers as Latin-1, API Gateway as the UTF-8 it was."""
    if header is None or header.isascii():
        return header
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
