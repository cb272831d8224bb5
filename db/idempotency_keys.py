"""Idempotency keys: which POST had which outcome, so that a retry gets the first one again.

As in draft-ietf-httpapi-idempotency-key-header: insert first, then look at what was there.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from peewee import Tuple

from .clock import AFTER_ALL_TIMES, ago
from .engine.database import database, transaction, transaction_time
from .engine.prepared import prepared
from .errors import IdempotencyKeyReused, RequestInProgress
from .models import IdempotencyKey

KEPT_SECONDS = timedelta(hours=24).total_seconds()
# An expired row stays a little longer than anybody answers from it. So what one process still
# honours, no other takes away.
SWEPT_SECONDS = KEPT_SECONDS + timedelta(minutes=5).total_seconds()
# Each new key takes so many expired rows away, and so does each sweep of the trash.
SWEEP_ROWS = 20


class Claim(NamedTuple):
    """One request that shall have its effect once."""

    caller: str
    key: str
    fingerprint: str  # of all that must not differ when it is repeated


class Outcome(NamedTuple):
    """What a retry is answered with: a response, or a reference from which it is made anew."""

    status: int | None = None
    headers: str | None = None  # JSON
    body: str | None = None
    reference: str | None = None  # JSON: the ids of what was stored, or that the path named


@transaction
def once(request: Claim, work: Callable[[], Outcome]) -> tuple[Outcome, bool]:
    """The outcome of `work`, and whether it is that of an earlier request.

    The key commits together with what `work` writes. A copy of the request that arrives meanwhile
    waits here for the first one. An exception leaves neither work nor key behind.
    Raises IdempotencyKeyReused.
    """
    first = claim(request)
    if first is not None:
        return first, True
    outcome = work()
    settle(request, outcome)
    return outcome, False


@transaction
def sweep() -> bool:
    """Take a few of the oldest expired keys away. Return whether there may be more."""
    return int(_sweep(ago(SWEPT_SECONDS)).rowcount) >= SWEEP_ROWS


@transaction
def claim(request: Claim) -> Outcome | None:
    """None if the caller is the first and shall do the work, else the first one's outcome."""
    sweep()
    _delete_expired(request.caller, request.key, ago(KEPT_SECONDS))
    inserted = _insert(request.caller, request.key, request.fingerprint, transaction_time.get())
    if inserted.rowcount == 1:
        return None
    found = _find(request.caller, request.key).fetchone()
    if found is None:  # the first one has given it back just now
        raise RequestInProgress("The first request with this Idempotency-Key has just failed.")
    fingerprint, status, headers, body, reference = found
    if fingerprint != request.fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with another request: make a new key for this one."
        )
    return Outcome(status=status, headers=headers, body=body, reference=reference)


@transaction
def reserve(request: Claim, seconds: float) -> Outcome | None:
    """`claim` for work that takes longer than a transaction, for so many seconds at most.

    The work ends with `settle`, or with `give_back` if it has had no effect.
    Raises RequestInProgress while the first one is at work, and IdempotencyKeyReused.
    """
    _delete_abandoned(request.caller, request.key, ago(seconds))
    first = claim(request)
    if first == Outcome():
        raise RequestInProgress(
            "The first request with this Idempotency-Key still runs: repeat it shortly."
        )
    return first


@transaction
def give_back(request: Claim) -> None:
    """Let the key be as if it had never been used, unless its work has an outcome."""
    # Whenever it was: the clock may have gone back.
    _delete_abandoned(request.caller, request.key, AFTER_ALL_TIMES)


@transaction
def settle(request: Claim, outcome: Outcome) -> None:
    """Store the outcome, in the transaction of the work."""
    status, headers, body, reference = outcome
    _settle(request.caller, request.key, status, headers, body, reference)


@transaction
def forget(ids: set[str], user_id: str | None) -> int:
    """Delete all answers that name one of some ids, and with a user, all answers to theirs."""
    found = []
    for caller, key, *texts in _all():
        of_user = user_id is not None and json.loads(caller)[1] == user_id
        if of_user or any(id in ids for text in texts if text for id in _ids_in(text)):
            found.append((caller, key))
    for caller, key in found:
        _delete(caller, key)
    return len(found)


def _ids_in(text: str) -> Iterator[str]:
    """The ids in a text, with hyphens also where they are without."""
    for found in _UUID.finditer(text):
        yield "-".join(found.groups())


_UUID = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")


@prepared
def _all() -> Any:
    """All keys, with all that may name a conversation."""
    return IdempotencyKey.select(
        IdempotencyKey.caller,
        IdempotencyKey.key,
        IdempotencyKey.headers,
        IdempotencyKey.body,
        IdempotencyKey.reference,
    )


@prepared
def _delete(caller: Any, key: Any) -> Any:
    """One key."""
    return IdempotencyKey.delete().where(IdempotencyKey.caller == caller, IdempotencyKey.key == key)


@prepared
def _insert(caller: Any, key: Any, fingerprint: Any, created_at: Any) -> Any:
    """Claim a key, unless somebody has it."""
    return IdempotencyKey.insert(
        caller=caller, key=key, fingerprint=fingerprint, created_at=created_at
    ).on_conflict_ignore()


@prepared
def _find(caller: Any, key: Any) -> Any:
    """What the first request with this key was, and its outcome."""
    return IdempotencyKey.select(
        IdempotencyKey.fingerprint,
        IdempotencyKey.status,
        IdempotencyKey.headers,
        IdempotencyKey.body,
        IdempotencyKey.reference,
    ).where(IdempotencyKey.caller == caller, IdempotencyKey.key == key)


@prepared
def _delete_expired(caller: Any, key: Any, kept: Any) -> Any:
    """This key, if it is too old to be answered from."""
    return IdempotencyKey.delete().where(
        IdempotencyKey.caller == caller,
        IdempotencyKey.key == key,
        IdempotencyKey.created_at < kept,
    )


@prepared
def _delete_abandoned(caller: Any, key: Any, kept: Any) -> Any:
    """This key, if it is that old and its work has no outcome."""
    return IdempotencyKey.delete().where(
        IdempotencyKey.caller == caller,
        IdempotencyKey.key == key,
        IdempotencyKey.created_at <= kept,
        IdempotencyKey.status.is_null(),
        IdempotencyKey.reference.is_null(),
    )


@prepared
def _sweep(kept: Any) -> Any:
    """A few of the oldest expired keys, whoever had them."""
    row = (IdempotencyKey.caller, IdempotencyKey.key)
    oldest = (
        IdempotencyKey.select(*row)
        .where(IdempotencyKey.created_at < kept)
        .order_by(IdempotencyKey.created_at)
        .limit(SWEEP_ROWS)
    )
    if database.for_update:
        # Another transaction may be sweeping these rows: do not wait until its work is done.
        oldest = oldest.for_update(skip_locked=True)
    return IdempotencyKey.delete().where(Tuple(*row).in_(oldest))


@prepared
def _settle(caller: Any, key: Any, status: Any, headers: Any, body: Any, reference: Any) -> Any:
    """The outcome of the request that has the key."""
    return IdempotencyKey.update(
        status=status, headers=headers, body=body, reference=reference
    ).where(IdempotencyKey.caller == caller, IdempotencyKey.key == key)
