"""Who is calling: the API key's project, and the end user that the key's holder vouches for."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from db import api_keys, user_tokens
from db.models import ApiKeyRow
from db.scope import EVERYTHING, Scope
from db.settings import settings

from .headers import API_KEY, AUTHORIZATION, OPENAI_PROJECT, USER_ID
from .problems import (
    KEY_NEEDED,
    NOT_SIGNED_ON,
    OTHER_PROJECT,
    OTHER_USER,
    UNAUTHENTICATED,
    Kind,
    Problem,
)

# In the place of a key, who has a token of the identity provider.
PROVIDER = "provider"


class Caller(NamedTuple):
    """Whose conversations the request may touch, and by which key. None: the stage is open."""

    scope: Scope
    key_id: str | None = None  # or PROVIDER
    is_read_only: bool = False
    by_token: bool = False  # a user's, which speaks for that user alone

    def within(self, project_id: str) -> "Caller":
        """The caller in one project. Raises Problem 403 if the key is for another."""
        if self.scope.project_id not in (None, project_id):
            what = "token" if self.by_token else "API key"
            raise Problem(OTHER_PROJECT, f"The {what} does not open project {project_id}.")
        return self._in(Scope(project_id, self.scope.user_id))

    def speaking_for(self, user_id: str | None) -> "Caller":
        """The caller for a user that the request names. Raises Problem 403 for another one."""
        if user_id is None:
            return self
        if self.scope.user_id not in (None, user_id):
            raise Problem(OTHER_USER, "The request names two users: send one of them.")
        return self._in(Scope(self.scope.project_id, user_id))

    def _in(self, scope: Scope) -> "Caller":
        return Caller(scope, self.key_id, self.is_read_only, self.by_token)  # `_replace`: 1 µs more


class Authentication(NamedTuple):
    """What a route demands of its caller."""

    key_always: bool = False  # also where the stage is open
    user_always: bool = False
    never_token: bool = False  # not a user's: it is for the holder of a key
    all_projects: bool = False
    # As OpenAI's clients do it: OpenAI-Project may name the project, and the key is a bearer token.
    is_openai: bool = False


# In a signature: anybody who may call; who has a key or a token; who is a user; who has a key.
AnyCaller = Annotated[Caller, Authentication()]
KeyHolder = Annotated[Caller, Authentication(key_always=True)]
SignedOnUser = Annotated[Caller, Authentication(key_always=True, user_always=True)]
KeyHolderOnly = Annotated[Caller, Authentication(key_always=True, never_token=True)]
Operator = Annotated[Caller, Authentication(key_always=True, never_token=True, all_projects=True)]
OpenAICaller = Annotated[Caller, Authentication(is_openai=True)]

# The caller of a route that does not ask who calls.
ANYBODY = Caller(EVERYTHING)


def authenticate(headers: Mapping[str, str], need: Authentication) -> Caller:
    """Who calls, by X-API-Key, or else by a bearer token: a user's token, or a key.

    Raises Problem 401, 403 for another project or user, and 422 for an X-User-Id that cannot be
    one. A blank X-User-Id is refused: a proxy that sends it blank for strangers must not show them
    the whole project.
    """
    user_id = headers.get(USER_ID.name)
    if user_id == "" and need.user_always:
        user_id = None  # 401 says how to sign on
    if user_id is not None:
        user_id = USER_ID.checked(user_id)
    caller = _caller(headers, need).speaking_for(user_id)
    if need.user_always and caller.scope.user_id is None:
        detail = "Send the signed-on user's id as X-User-Id, or the user's token as a bearer token."
        raise _unauthenticated(NOT_SIGNED_ON, detail, need)
    if need.never_token and caller.by_token:
        raise Problem(KEY_NEEDED, "Send an API key as X-API-Key: a user's token cannot do this.")
    if need.all_projects and caller.scope.project_id is not None:
        raise Problem(OTHER_PROJECT, "Send a key that opens all projects.")
    project_id = headers.get(OPENAI_PROJECT.name) if need.is_openai else None
    return caller if project_id is None else caller.within(OPENAI_PROJECT.checked(project_id))


def has_to_wait(authorization: str) -> bool:
    """Whether the identity provider has to be asked before it is known who calls."""
    token = _bearer_in(authorization)
    if token is None or not _is_providers(token):
        return False
    # Cold start: 2 ms, and most processes see no such token.
    from . import oidc

    return oidc.has_to_wait(token)


def _caller(headers: Mapping[str, str], need: Authentication) -> Caller:
    plain = headers.get(API_KEY.name)
    if plain is not None:
        key = api_keys.find(plain)
        if key is None:
            raise _unauthenticated(UNAUTHENTICATED, NOT_GOOD.format("API key in X-API-Key"), need)
        return _by_key(key)
    token = _bearer_in(headers.get(AUTHORIZATION.name, ""))
    if token is not None and (caller := _by_bearer(token)) is not None:
        return caller
    # Some clients cannot leave the token out. So where none is needed, one that is no key is none.
    if not (need.key_always or settings().require_api_key):
        return Caller(EVERYTHING)
    if token is not None:
        raise _bad_token(NOT_GOOD.format("bearer token"))
    detail = "Send your API key as X-API-Key, or a user's token as a bearer token."
    raise _unauthenticated(UNAUTHENTICATED, detail, need)


NOT_GOOD = "The {} is not known, was revoked, or has expired."


def _bearer_in(authorization: str) -> str | None:
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _by_bearer(token: str) -> Caller | None:
    """Whom a bearer token speaks for. None if it is of no kind that there is. Raises Problem 401,
    and 503 if the identity provider is away.
    """
    if token.startswith(user_tokens.PREFIX):
        row = user_tokens.find(token)
        if row is None:
            raise _bad_token(NOT_GOOD.format("bearer token"))
        user_tokens.note_use(row)
        return Caller(Scope(row.project_id, row.user_id), row.key_id, by_token=True)
    if _is_providers(token):
        # Cold start: 2 ms, as above.
        from . import oidc

        try:
            user_id, project_id = oidc.check(token)
        except oidc.Refused as error:
            raise _bad_token(str(error)) from None
        return Caller(Scope(project_id, user_id), PROVIDER, by_token=True)
    key = api_keys.find(token)
    return None if key is None else _by_key(key)


def _is_providers(token: str) -> bool:
    """Whether a token has to be the provider's: there is one, and the token is a JWT by form."""
    return settings().oidc_issuer is not None and token.count(".") == 2


def _by_key(key: ApiKeyRow) -> Caller:
    api_keys.note_use(key)
    return Caller(Scope(key.project_id), key.id, bool(key.is_read_only))


def _unauthenticated(kind: Kind, detail: str, need: Authentication) -> Problem:
    challenge = BEARER if need.is_openai else f'ApiKey realm="confab", header="{API_KEY.name}"'
    return Problem(kind, detail, {"WWW-Authenticate": challenge})


def _bad_token(detail: str) -> Problem:
    return Problem(
        UNAUTHENTICATED, detail, {"WWW-Authenticate": f'{BEARER}, error="invalid_token"'}
    )


BEARER = 'Bearer realm="confab"'  # RFC 6750, 3
