"""Idempotency keys: which POST was answered how, so that a retry gets the first answer again.

As in draft-ietf-httpapi-idempotency-key-header: insert first, then look at what was there.
"""

from datetime import timedelta
from typing import Any, NamedTuple

from peewee import CompositeKey, IntegerField, Model, TextField, Tuple

from .clock import ago, now
from .database import database, prepared, transaction
from .errors import IdempotencyKeyReused

KEPT = timedelta(hours=24).total_seconds()
SWEEP = 20  # expired rows that each new key takes away; so the table stays small without a job
# An expired row stays a little longer than anybody answers from it: what one process still honours,
# no other takes away under its hands.
SWEPT = KEPT + timedelta(minutes=5).total_seconds()


class Answer(NamedTuple):
    status: int
    headers: str  # JSON
    body: str


class IdempotencyKey(Model):
    caller = TextField()  # the API key's id and the user: two callers' keys never meet
    key = TextField()
    fingerprint = TextField()  # of method, path and body
    created_at = TextField()
    # The answer; NULL only inside the transaction that does the work.
    status = IntegerField(null=True)
    headers = TextField(null=True)
    body = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        primary_key = CompositeKey("caller", "key")
        without_rowid = True
        indexes = ((("created_at",), False),)

    @classmethod
    @transaction
    def claim(cls, caller: str, key: str, fingerprint: str) -> Answer | None:
        """None if the caller is the first and shall do the work, else the first one's answer.

        To be called in the transaction that does the work and ends with `settle`: a copy that
        arrives meanwhile waits for it here. Raises IdempotencyKeyReused.
        """
        _sweep(ago(SWEPT))
        _forget_expired(caller, key, ago(KEPT))
        if _insert(caller, key, fingerprint, now()).rowcount == 1:
            return None
        first, *answer = _find(caller, key).fetchone()
        if first != fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used with another request: make a new key for this one."
            )
        return Answer._make(answer)

    @classmethod
    @transaction
    def settle(cls, caller: str, key: str, answer: Answer) -> None:
        """Store the answer, in the transaction of what it answers for."""
        _settle(caller, key, *answer)


@prepared
def _insert(caller: Any, key: Any, fingerprint: Any, created_at: Any) -> Any:
    return IdempotencyKey.insert(
        caller=caller, key=key, fingerprint=fingerprint, created_at=created_at
    ).on_conflict_ignore()


@prepared
def _find(caller: Any, key: Any) -> Any:
    return IdempotencyKey.select(
        IdempotencyKey.fingerprint,
        IdempotencyKey.status,
        IdempotencyKey.headers,
        IdempotencyKey.body,
    ).where(IdempotencyKey.caller == caller, IdempotencyKey.key == key)


@prepared
def _forget_expired(caller: Any, key: Any, kept: Any) -> Any:
    return IdempotencyKey.delete().where(
        IdempotencyKey.caller == caller,
        IdempotencyKey.key == key,
        IdempotencyKey.created_at < kept,
    )


@prepared
def _sweep(kept: Any) -> Any:
    row = (IdempotencyKey.caller, IdempotencyKey.key)
    oldest = (
        IdempotencyKey.select(*row)
        .where(IdempotencyKey.created_at < kept)
        .order_by(IdempotencyKey.created_at)
        .limit(SWEEP)
    )
    if database.for_update:
        # Rows that another transaction is sweeping: do not wait until its work is done.
        oldest = oldest.for_update(skip_locked=True)
    return IdempotencyKey.delete().where(Tuple(*row).in_(oldest))


@prepared
def _settle(caller: Any, key: Any, status: Any, headers: Any, body: Any) -> Any:
    return IdempotencyKey.update(status=status, headers=headers, body=body).where(
        IdempotencyKey.caller == caller, IdempotencyKey.key == key
    )
