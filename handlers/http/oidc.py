"""Sign-on by an OpenID Connect provider: its users' own tokens, checked with its public keys.

PyJWT checks the signature, the issuer, the audience and the times of a token, in 45 µs.
"""

from functools import cache, lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter

from db.settings import settings

from .identity_provider import ALGORITHMS, UnknownKey, Wanted, provider
from .types import Key, UserId

# What ID tokens and access tokens are called (RFC 9068, 2.1). A provider signs others with the same
# keys, such as logout tokens (RFC 8725, 3.11).
TYPES = ("jwt", "at+jwt", "application/at+jwt")
NEITHER = "The bearer token is neither an ID token nor an access token."
CLOCK_SKEW_SECONDS = 60  # by which our clock and the provider's may differ


class SignedOn(NamedTuple):
    user_id: str
    project_id: str | None  # None: all


class Refused(Exception):
    """A token is not good. `str(error)` says why, in a sentence."""


def has_to_wait(bearer: str) -> bool:
    """Whether the provider has to be asked for a key before the token can be checked."""
    try:
        return provider().has_to_wait(_wanted(bearer))
    except Refused:
        return False
    except Exception:  # a thread will tell of it. The caller has none to lose
        return True


def check(token: str) -> SignedOn:
    """Whose token it is. Raises Refused, and Problem 503 if the provider does not give its keys."""
    chosen = settings()
    # Cold start: 24 ms, and most processes see no such token.
    import jwt

    wanted = _wanted(token)
    try:
        key = provider().key(wanted)
    except UnknownKey:
        raise Refused("The bearer token is signed by a key that the provider has not.") from None
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[wanted.algorithm],
            audience=chosen.oidc_audiences,
            issuer=chosen.oidc_issuer,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError:
        raise Refused("The bearer token has expired: sign on again.") from None
    except jwt.ImmatureSignatureError:
        raise Refused("The bearer token is not good yet.") from None
    except jwt.InvalidAudienceError:
        raise Refused("The bearer token is for somebody else: see OIDC_AUDIENCE.") from None
    except jwt.InvalidIssuerError:
        raise Refused("The bearer token is of another provider: see OIDC_ISSUER.") from None
    except jwt.MissingRequiredClaimError as error:
        raise Refused(f"The bearer token has no claim {error.claim}.") from None
    except (jwt.PyJWTError, ValueError):
        raise Refused("The bearer token is not signed as it has to be.") from None
    if "events" in claims:  # it is a logout token or the like (Back-Channel Logout 1.0, 2.4)
        raise Refused(NEITHER)
    return _signed_on(claims)


def _signed_on(claims: dict[str, Any]) -> SignedOn:
    chosen = settings()
    if chosen.oidc_user_claim == "email" and claims.get("email_verified") is not True:
        raise Refused("The bearer token has an email address that is not verified.")
    user_id = _claim(claims, chosen.oidc_user_claim, UserId)
    project_id = chosen.oidc_project
    if chosen.oidc_project_claim is not None:
        project_id = _claim(claims, chosen.oidc_project_claim, Key)
    return SignedOn(user_id, None if project_id is None else _as_paths_have_it(project_id))


def _as_paths_have_it(project_id: str) -> str:
    """A UUID in its one form. A project may have any other name, too."""
    try:
        return str(UUID(project_id))
    except ValueError:
        return project_id


def _claim(claims: dict[str, Any], name: str, kind: Any) -> str:
    try:
        value: str = _adapter(kind).validate_python(claims.get(name))
        value.encode()  # JSON has an escape for half a surrogate pair, which is no text
    except ValueError:
        raise Refused(f"The bearer token has no claim {name} that can be used.") from None
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _wanted(token: str) -> Wanted:
    """The key that a token names. Raises Refused."""
    return _wanted_in(token.partition(".")[0])


@lru_cache(256)  # all tokens that were signed by one key begin alike
def _wanted_in(head: str) -> Wanted:
    # Cold start: 24 ms, as above.
    import jwt

    try:
        parameters = jwt.get_unverified_header(f"{head}..")
    except (jwt.PyJWTError, ValueError):
        raise Refused("The bearer token is no JWT.") from None
    if parameters.get("alg") not in ALGORITHMS:
        raise Refused("The bearer token is signed by an algorithm that is not allowed.")
    if str(parameters.get("typ", "JWT")).lower() not in TYPES:
        raise Refused(NEITHER)
    return Wanted(parameters.get("kid"), parameters["alg"])
