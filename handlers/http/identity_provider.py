"""The identity provider: its keys and what it tells of itself (OpenID Connect Discovery 1.0).

Both are fetched when they are first needed, and again for a key that is not known. They are kept
while the provider is away.
"""

import json
import threading
import time
from contextlib import suppress
from functools import cache
from math import inf
from typing import Any, NamedTuple

from db.engine.database import may_wait
from db.settings import settings

from .logs import log
from .problems import SIGN_ON_UNAVAILABLE, Problem

# Those that take a public key. A list of our own, since a token may name any: with `none` it needs
# no signature, and with HS256 the public key would be the secret (RFC 8725, 2.1).
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
REFRESH_SECONDS = 600  # until a key that the provider has withdrawn is not good any more
AGAIN_SECONDS = 60  # between two looks for a key that is not known
FIRST_AGAIN_SECONDS = 5  # likewise, while there are no keys at all
PATIENCE_SECONDS = 5.0  # with the provider
MAX_BYTES = 1_000_000  # of a document of the provider
MAX_WAITING = 64  # requests that wait for the provider, each in a thread


class Wanted(NamedTuple):
    """The key that a token names."""

    id: str | None
    algorithm: str


class Known(NamedTuple):
    """What a provider has told of itself, and its keys."""

    metadata: dict[str, Any]
    keys: dict[tuple[str | None, str], Any]  # by id and algorithm

    def find(self, wanted: Wanted) -> Any:
        """The key, or None. A token need not name it if there is only one (Core 1.0, 10.1)."""
        if wanted.id is not None:
            return self.keys.get(wanted)
        fitting = [key for (_, fits), key in self.keys.items() if fits == wanted.algorithm]
        return fitting[0] if len(fitting) == 1 else None


class UnknownKey(Exception):
    """The provider has no such key."""


class Provider:
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._known: Known | None = None
        self._fetched_at = self._tried_at = -inf  # by time.monotonic
        self._is_away = False
        self._fetching = threading.Lock()
        self._waiting = threading.Semaphore(MAX_WAITING)

    def key(self, wanted: Wanted) -> Any:
        """The public key. Raises UnknownKey, and Problem 503 if the provider is away."""
        if self._is_due(wanted) and may_wait.get():
            self._refresh(wanted)
        if self._known is not None and not self._lacks(wanted):
            return self._known.find(wanted)
        if self._known is None or self._is_away or self._is_due(wanted):
            raise _unavailable()
        raise UnknownKey

    def metadata(self) -> dict[str, Any] | None:
        """What the provider tells of itself. None if it is away."""
        if self._known is None and self._is_due() and may_wait.get():
            with suppress(Problem):
                self._refresh()
        return self._known.metadata if self._known else None

    def has_to_wait(self, wanted: Wanted) -> bool:
        """Whether `key` would ask the provider, or wait for who does so."""
        return self._is_due(wanted) and (self._lacks(wanted) or not self._fetching.locked())

    def _lacks(self, wanted: Wanted | None) -> bool:
        known = self._known
        return known is None or (wanted is not None and known.find(wanted) is None)

    def _is_due(self, wanted: Wanted | None = None) -> bool:
        """Whether the keys are to be fetched: there are none, they are old, or one is missing."""
        now = time.monotonic()
        if self._known is None:
            return now >= self._tried_at + FIRST_AGAIN_SECONDS
        is_old = now >= self._fetched_at + REFRESH_SECONDS
        return (is_old or self._lacks(wanted)) and now >= self._tried_at + AGAIN_SECONDS

    def _refresh(self, wanted: Wanted | None = None) -> None:
        """Fetch the keys. If another thread does so, wait for it only if the key is not known.

        Raises Problem 503 if too many wait.
        """
        if not self._fetching.acquire(blocking=False):
            if not self._lacks(wanted):
                return
            if not self._waiting.acquire(blocking=False):
                raise _unavailable()
            self._fetching.acquire()
            self._waiting.release()
        try:
            if self._is_due(wanted):
                self._fetch()
        finally:
            self._fetching.release()

    def _fetch(self) -> None:
        # Cold start: 44 ms, as for a model.
        import httpx

        try:
            self._known = _ask(self._issuer)
            self._fetched_at = time.monotonic()
            self._is_away = False
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            self._is_away = True
            log.warning("OIDC_ISSUER does not give its keys: %s: %s", type(error).__name__, error)
        finally:
            self._tried_at = time.monotonic()


def provider() -> Provider:
    """The provider that OIDC_ISSUER names. It has to be set."""
    return _provider(str(settings().oidc_issuer))


_provider = cache(Provider)


def _unavailable() -> Problem:
    return Problem(
        SIGN_ON_UNAVAILABLE,
        "The token cannot be checked now: repeat the request shortly.",
        {"Retry-After": str(FIRST_AGAIN_SECONDS)},
    )


def _ask(issuer: str) -> Known:
    """Ask the provider. Raises ValueError, LookupError, TypeError and httpx's errors."""
    # Cold start: 44 ms, as above.
    import httpx

    deadline = time.monotonic() + PATIENCE_SECONDS
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = _json_at(client, url, deadline)
        if metadata["issuer"] != issuer:  # Discovery, 4.3
            raise ValueError(f"it calls itself {metadata['issuer']}")
        if issuer.startswith("https:") and not metadata["jwks_uri"].startswith("https:"):
            raise ValueError("its keys are not at an https URL")
        keys = _usable(_json_at(client, metadata["jwks_uri"], deadline)["keys"])
    if not keys:
        raise ValueError("it has no key that can be used")
    return Known(metadata, keys)


def _json_at(client: Any, url: str, deadline: float) -> Any:
    content = b""
    with client.stream("GET", url, headers={"Accept": "application/json"}) as response:
        response.raise_for_status()
        for part in response.iter_bytes():
            content += part
            if len(content) > MAX_BYTES or time.monotonic() > deadline:
                raise ValueError(f"{url} is too long, or too slow")
    return json.loads(content)


def _usable(keys: list[Any]) -> dict[tuple[str | None, str], Any]:
    """The keys that sign, by id and algorithm. There may be others, which are passed over."""
    # Cold start: 24 ms, and most processes see no such token.
    import jwt

    found = {}
    for key in keys:
        if not isinstance(key, dict) or key.get("use", "sig") != "sig":
            continue
        for algorithm in ALGORITHMS:
            if key.get("alg", algorithm) == algorithm:
                # It is of another kind, or is not well-formed.
                with suppress(jwt.PyJWTError, ValueError, TypeError, LookupError):
                    found[key.get("kid"), algorithm] = jwt.PyJWK(key, algorithm)
    return found
