"""Credentials: secrets that are shown once, how they are looked for, and when they were used.

A secret holds 256 random bits. So one round of SHA-256 is enough: nobody can guess through it. It
is looked for by its digest, in an index. How long that takes tells of the digest, not of the
secret: who has the digests cannot come nearer to a secret by trying.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf

from .clock import ago, now
from .engine.database import DRIVER_ERRORS, WouldWait, database, may_wait
from .errors import Unavailable

USED_SECONDS = 3600  # to which it is known when a secret was used
AGAIN_SECONDS = 60  # between two looks at it: to make a time of now takes 2 µs
MAX_LOOKED = 10_000  # secrets


def new_secret(prefix: str) -> str:
    # Cold start: 1 ms, and few processes make secrets.
    import secrets

    return prefix + secrets.token_urlsafe(32)


def digest_of(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


class LastUse:
    """When each of some secrets was last used: one write in an hour, and none that waits."""

    def __init__(self, store: Callable[[str, str], object]) -> None:
        """`store` writes the time of a secret, by its id."""
        self._store = store
        self._looked_at: dict[str, float] = {}  # by id

    def note(self, id: str, used_at: str | None) -> None:
        """The secret is used now. `used_at` is what is stored."""
        moment = time.monotonic()
        if moment < self._looked_at.get(id, -inf) + AGAIN_SECONDS:
            return
        if len(self._looked_at) >= MAX_LOOKED:
            self._looked_at.clear()
        self._looked_at[id] = moment
        if used_at is not None and used_at > ago(USED_SECONDS):
            return
        token = may_wait.set(False)
        try:
            # Another request may tell it. No chores come along: who only looks changes nothing.
            with suppress(Unavailable, WouldWait, *DRIVER_ERRORS):
                database.obj.write_one(lambda: self._store(id, now()))
        finally:
            may_wait.reset(token)
