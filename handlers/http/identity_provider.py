"""The identity provider: its keys and what it tells of itself (OpenID Connect Discovery 1.0).

A thread fetches both when they are first needed, every ten minutes while they are used, and for a
key that is not known. A request waits for it only if it needs a key that is not there. So known
keys go on while the provider is away, or never ends its answer.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from math import ceil, inf
from typing import Any, NamedTuple

from db.engine.database import may_wait
from db.settings import ON_LAMBDA, settings

from .logs import log, words_of
from .problems import SIGN_ON_UNAVAILABLE, Problem

# Those that take a public key. A list of our own, since a token may name any: with `none` it needs
# no signature, and with HS256 the public key would be the secret (RFC 8725, 2.1).
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
REFRESH_SECONDS = 600  # until a key that the provider has withdrawn is not good any more
AGAIN_SECONDS = 60  # between two looks
AGAIN_WITHOUT_KEYS_SECONDS = 5  # likewise, while there are no keys at all
PATIENCE_SECONDS = 5.0  # with the provider
SHORT_PATIENCE_SECONDS = 1.0  # likewise, for what goes on without it
MAX_BYTES = 1_000_000  # of a document of the provider
MAX_WAITING = 64  # requests that wait for a look, each in a thread


class Wanted(NamedTuple):
    """The key that a token names."""

    id: str | None
    algorithm: str


class Known(NamedTuple):
    """What a provider has told of itself, and its keys.

    Each key is there by its id and algorithm, and without the id, too: a token need not name it if
    there is only one (OpenID Connect Core 1.0, 10.1).
    """

    metadata: dict[str, Any]
    keys: dict[Wanted, list[Any]]

    def find(self, wanted: Wanted) -> Any:
        """The key, or None if there is none, or more than one."""
        found = self.keys.get(wanted, ())
        return found[0] if len(found) == 1 else None


class UnknownKey(Exception):
    """The provider has no such key."""


class Nonsense(Exception):
    """What the provider tells cannot be used. `str(error)` says why, for the log."""


class Look:
    """An attempt to fetch what the provider tells, by a thread."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._until = time.monotonic() + PATIENCE_SECONDS

    def wait(self, at_most: float = PATIENCE_SECONDS) -> None:
        self.ended.wait(max(0, min(at_most, self._until - time.monotonic())))


class Provider:
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._known: Known | None = None
        self._fetched_at, self._again_at = -inf, 0.0  # by time.monotonic
        self._has_failed = False  # the last look
        self._look: Look | None = None
        self._beginning = threading.Lock()
        self._waiting = threading.Semaphore(MAX_WAITING)

    def key(self, wanted: Wanted) -> Any:
        """The public key. Raises UnknownKey, and Problem 503 if the provider does not tell."""
        key, look = self._seek(wanted)
        if look is not None and may_wait.get():
            if key is None:
                with self._place_to_wait():
                    look.wait()
                key, look = self._seek(wanted)
            elif os.environ.get(ON_LAMBDA):  # the thread would be frozen with the process
                look.wait(SHORT_PATIENCE_SECONDS)
        if key is not None:
            return key
        if look is not None or self._has_failed:
            raise self._unavailable()
        raise UnknownKey

    def metadata(self) -> dict[str, Any] | None:
        """What the provider tells of itself. None if it has not told it yet."""
        known, look = self._seek()
        if known is None and look is not None and may_wait.get():
            look.wait(SHORT_PATIENCE_SECONDS)
        return self._known.metadata if self._known else None

    def has_to_wait(self, wanted: Wanted) -> bool:
        """Whether `key` would wait for the provider."""
        key, look = self._seek(wanted)
        return key is None and look is not None

    def _seek(self, wanted: Wanted | None = None) -> tuple[Any, Look | None]:
        """What is known of it, and who looks, if that is nothing or old."""
        known, now = self._known, time.monotonic()
        found = known if known is None or wanted is None else known.find(wanted)
        if found is not None and now < self._fetched_at + REFRESH_SECONDS:
            return found, None
        with self._beginning:
            if self._look is None and now >= self._again_at:
                self._begin()
            return found, self._look

    def _begin(self) -> None:
        self._look = look = Look()
        try:
            threading.Thread(target=self._fetch, args=(look,), daemon=True).start()
        except RuntimeError as error:  # there is no thread to be had
            self._fail(error)
            self._end(look)

    @contextmanager
    def _place_to_wait(self) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise self._unavailable()
        try:
            yield
        finally:
            self._waiting.release()

    def _fetch(self, look: Look) -> None:
        try:
            self._known = _ask(self._issuer)
            self._fetched_at = time.monotonic()
            self._has_failed = False
        except Exception as error:  # whatever another party may send
            self._fail(error)
        finally:
            self._end(look)

    def _fail(self, error: Exception) -> None:
        self._has_failed = True
        log.warning("OIDC_ISSUER does not give its keys: %s", words_of(error))

    def _end(self, look: Look) -> None:
        pause = AGAIN_WITHOUT_KEYS_SECONDS if self._known is None else AGAIN_SECONDS
        self._again_at = time.monotonic() + pause
        self._look = None
        look.ended.set()

    def _unavailable(self) -> Problem:
        return Problem(
            SIGN_ON_UNAVAILABLE,
            "The token cannot be checked now: repeat the request shortly.",
            {"Retry-After": str(max(1, ceil(self._again_at - time.monotonic())))},
        )


def provider() -> Provider:
    """The provider that OIDC_ISSUER names. It has to be set."""
    return _provider(str(settings().oidc_issuer))


_provider = cache(Provider)


def _ask(issuer: str) -> Known:
    """Ask the provider. Raises Nonsense, httpx's errors, and others: it may send anything."""
    # Cold start: 44 ms, as for a model.
    import httpx

    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        # The client's own time-out begins anew with each byte.
        timer = threading.Timer(PATIENCE_SECONDS, client.close)
        timer.daemon = True
        timer.start()
        try:
            url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = _json_at(client, url)
            if metadata["issuer"] != issuer:  # Discovery, 4.3
                raise Nonsense(f"it calls itself {metadata['issuer']}")
            keys = _usable(_json_at(client, _as_safe(metadata["jwks_uri"], issuer))["keys"])
        finally:
            timer.cancel()
    if not keys:
        raise Nonsense("it has no key that can be used")
    return Known(metadata, keys)


def _as_safe(url: str, issuer: str) -> str:
    if issuer.startswith("https:") and not url.startswith("https:"):
        raise Nonsense("its keys are not at an https URL")
    return url


def _json_at(client: Any, url: str) -> Any:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    content = b""
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        if "Content-Encoding" in response.headers:  # it could be a thousand times as long
            raise Nonsense(f"{url} is compressed")
        for part in response.iter_raw():
            content += part
            if len(content) > MAX_BYTES:
                raise Nonsense(f"{url} is too long")
    return json.loads(content)


def _usable(keys: list[Any]) -> dict[Wanted, list[Any]]:
    """The keys that sign. There may be others, which are passed over."""
    # Cold start: 24 ms, and most processes see no such token.
    import jwt

    found: dict[Wanted, list[Any]] = {}
    for key in keys:
        if not isinstance(key, dict) or key.get("use", "sig") != "sig":
            continue
        for algorithm in ALGORITHMS:
            if key.get("alg", algorithm) != algorithm:
                continue
            # It is of another kind, or is not well-formed.
            with suppress(jwt.PyJWTError, ValueError, TypeError, LookupError):
                usable = jwt.PyJWK(key, algorithm)
                for id in {key.get("kid"), None}:
                    found.setdefault(Wanted(id, algorithm), []).append(usable)
    return found
