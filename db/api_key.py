"""API keys: stored as SHA-256 digests. The plain key is seen once, when it is made."""

import hashlib
from typing import Any, NamedTuple

from peewee import Model, TextField

from .clock import new_id, now
from .database import database, insertion, prepared, transaction
from .errors import KeyNotFound

PREFIX = "confab_"  # lets secret scanners and people recognise a key


class ApiKeyRow(NamedTuple):
    id: str
    digest: str
    project_id: str | None  # None: all projects
    name: str | None
    created_at: str
    revoked_at: str | None


class ApiKey(Model):
    id = TextField(primary_key=True)
    # The keys hold 256 random bits, so one round of SHA-256 is enough: nobody can guess through it.
    digest = TextField(unique=True)
    project_id = TextField(null=True)
    name = TextField(null=True)
    created_at = TextField()
    revoked_at = TextField(null=True)

    class Meta:
        database = database
        legacy_table_names = False
        without_rowid = True

    @classmethod
    @transaction
    def make(cls, project_id: str | None = None, name: str | None = None) -> tuple[str, ApiKeyRow]:
        """A new key: its plain text, which is stored nowhere, and its row."""
        import secrets  # which Lambda's functions have no use for

        plain = PREFIX + secrets.token_urlsafe(32)
        row = ApiKeyRow(new_id(), _digest(plain), project_id, name, now(), None)
        _insert(*row)
        return plain, row

    @classmethod
    def find(cls, plain: str) -> ApiKeyRow | None:
        """The key's row; None if there is none or it was revoked."""
        row = _by_digest(_digest(plain)).fetchone()
        key = ApiKeyRow._make(row) if row else None
        return key if key and key.revoked_at is None else None

    @classmethod
    def all(cls) -> list[ApiKeyRow]:
        return [ApiKeyRow._make(row) for row in _all()]

    @classmethod
    @transaction
    def revoke(cls, id: str) -> None:
        """From now on the key opens nothing. Revoking twice is fine. Raises KeyNotFound."""
        found = ApiKey.select(ApiKey.revoked_at).where(ApiKey.id == id).tuples().first()
        if found is None:
            raise KeyNotFound(f"There is no key {id}: see list-keys.")
        if found[0] is None:
            ApiKey.update(revoked_at=now()).where(ApiKey.id == id).execute()


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


COLUMNS = [getattr(ApiKey, name) for name in ApiKeyRow._fields]
_insert = insertion(ApiKey, ApiKeyRow._fields)


@prepared
def _by_digest(digest: Any) -> Any:
    return ApiKey.select(*COLUMNS).where(ApiKey.digest == digest)


@prepared
def _all() -> Any:
    return ApiKey.select(*COLUMNS).order_by(ApiKey.id)
