"""Who is calling: the API key's project, and the end user that the key's holder vouches for."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from db import api_keys
from db.scope import EVERYTHING, Scope
from db.settings import settings

from .headers import API_KEY, AUTHORIZATION, OPENAI_PROJECT, USER_ID
from .problems import NOT_SIGNED_ON, OTHER_PROJECT, OTHER_USER, UNAUTHENTICATED, Kind, Problem


class Caller(NamedTuple):
    """Whose conversations the request may touch, and by which key (None on an open stage)."""

    scope: Scope
    key_id: str | None = None

    def within(self, project_id: str) -> "Caller":
        """The caller in one project. Raises Problem 403 if the key is for another."""
        if self.scope.project_id not in (None, project_id):
            raise Problem(OTHER_PROJECT, f"The API key does not open project {project_id}.")
        return self._replace(scope=Scope(project_id, self.scope.user_id))

    def speaking_for(self, user_id: str | None) -> "Caller":
        """The caller for a user that the body names. Raises Problem 403 for another one."""
        if user_id is None:
            return self
        if self.scope.user_id not in (None, user_id):
            raise Problem(OTHER_USER, "user_id and X-User-Id name two users: send one of them.")
        return self._replace(scope=Scope(self.scope.project_id, user_id))


class Authentication(NamedTuple):
    """What a route demands of its caller."""

    key_always: bool = False  # also where the stage is open
    user_always: bool = False
    # As OpenAI's clients do it: the key may be a bearer token, and OpenAI-Project name the project.
    by_bearer: bool = False


# In a signature: anybody who may call; the holder of a key; a key's holder speaking for one user.
AnyCaller = Annotated[Caller, Authentication()]
KeyHolder = Annotated[Caller, Authentication(key_always=True)]
SignedOnUser = Annotated[Caller, Authentication(key_always=True, user_always=True)]
Bearer = Annotated[Caller, Authentication(by_bearer=True)]

# The caller of a route that does not ask who calls.
ANYBODY = Caller(EVERYTHING)


def authenticate(headers: Mapping[str, str], need: Authentication) -> Caller:
    """Raises Problem 401, 403 for another project, and 422 for an X-User-Id that cannot be one.

    A blank X-User-Id is refused: a proxy that sends it blank for strangers must not show them the
    whole project.
    """
    caller = _caller(headers, need)
    project_id = headers.get(OPENAI_PROJECT.name) if need.by_bearer else None
    return caller if project_id is None else caller.within(OPENAI_PROJECT.checked(project_id))


def _caller(headers: Mapping[str, str], need: Authentication) -> Caller:
    user_id = headers.get(USER_ID.name)
    if need.user_always and not user_id:
        raise _unauthenticated(NOT_SIGNED_ON, "Send the signed-on user's id as X-User-Id.")
    if user_id is not None:
        user_id = USER_ID.checked(user_id)
    plain = headers.get(API_KEY.name)
    is_open = not (need.key_always or settings().require_api_key)
    if plain is None and need.by_bearer:
        return _by_bearer(_token_in(headers), user_id, is_open)
    if plain is None:
        if not is_open:
            raise _unauthenticated(UNAUTHENTICATED, "Send your API key as X-API-Key.")
        return Caller(Scope(None, user_id))
    key = api_keys.find(plain)
    if key is None:
        detail = "The API key in X-API-Key is not known, or was revoked."
        raise _unauthenticated(UNAUTHENTICATED, detail, need.by_bearer)
    return Caller(Scope(key.project_id, user_id), key.id)


def _by_bearer(token: str | None, user_id: str | None, is_open: bool) -> Caller:
    """Clients that cannot leave the token out send any, so on an open stage a wrong one is none."""
    key = api_keys.find(token) if token else None
    if key is not None:
        return Caller(Scope(key.project_id, user_id), key.id)
    if is_open:
        return Caller(Scope(None, user_id))
    detail = "Send an API key of this server as the bearer token"
    wrong = ": this one is not known, or was revoked" if token else ""
    raise _unauthenticated(UNAUTHENTICATED, f"{detail}{wrong}.", by_bearer=True)


def _token_in(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get(AUTHORIZATION.name, "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _unauthenticated(kind: Kind, detail: str, by_bearer: bool = False) -> Problem:
    challenge = f'ApiKey realm="confab", header="{API_KEY.name}"'
    if by_bearer:
        challenge = 'Bearer realm="confab"'
    return Problem(kind, detail, {"WWW-Authenticate": challenge})
