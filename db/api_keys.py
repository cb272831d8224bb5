"""API keys, stored as SHA-256 digests. The plain key is seen once, when it is made."""

import hashlib
from typing import Any

from .clock import new_id
from .engine.database import query, transaction, transaction_time
from .engine.prepared import insertion, prepared
from .errors import KeyNotFound
from .models import API_KEY_COLUMNS, ApiKey, ApiKeyRow

PREFIX = "confab_"  # lets secret scanners and people recognise a key


@transaction
def make(project_id: str | None = None, name: str | None = None) -> tuple[str, ApiKeyRow]:
    """A new key: its plain text, which is stored nowhere, and its row."""
    # Cold start: 1 ms, and only the command line makes keys.
    import secrets

    plain = PREFIX + secrets.token_urlsafe(32)
    row = ApiKeyRow(
        id=new_id(),
        digest=_digest(plain),
        project_id=project_id,
        name=name,
        created_at=transaction_time.get(),
        revoked_at=None,
    )
    _insert(*row)
    return plain, row


@query
def find(plain: str) -> ApiKeyRow | None:
    """The key's row. None if there is none, or if it was revoked."""
    row = _by_digest(_digest(plain)).fetchone()
    key = ApiKeyRow._make(row) if row else None
    return key if key and key.revoked_at is None else None


@query
def list_all() -> list[ApiKeyRow]:
    """Every key, oldest first, revoked ones too."""
    return [ApiKeyRow._make(row) for row in _all()]


@transaction
def revoke(id: str) -> None:
    """From now on the key opens nothing. Revoking it twice is fine. Raises KeyNotFound."""
    if _by_id(id).fetchone() is None:
        raise KeyNotFound(f"There is no key {id}: see list-keys.")
    _revoke(id, transaction_time.get())


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


_insert = insertion(ApiKey, ApiKeyRow._fields)


@prepared
def _by_digest(digest: Any) -> Any:
    """The key that a caller sent."""
    return ApiKey.select(*API_KEY_COLUMNS).where(ApiKey.digest == digest)


@prepared
def _by_id(id: Any) -> Any:
    """One key, by the name that list-keys shows."""
    return ApiKey.select(ApiKey.id).where(ApiKey.id == id)


@prepared
def _all() -> Any:
    """Every key. Ids grow with age."""
    return ApiKey.select(*API_KEY_COLUMNS).order_by(ApiKey.id)


@prepared
def _revoke(id: Any, revoked_at: Any) -> Any:
    """A key that was revoked before keeps its time."""
    return ApiKey.update(revoked_at=revoked_at).where(ApiKey.id == id, ApiKey.revoked_at.is_null())
