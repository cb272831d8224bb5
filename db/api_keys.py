"""API keys, stored as SHA-256 digests. The plain key is seen once, when it is made."""

from typing import Any

from .clock import DAY_SECONDS, new_id, now, plus
from .credentials import LastUse, digest_of, new_secret
from .engine.database import query, transaction, transaction_time
from .engine.prepared import insertion, prepared
from .errors import KeyNotFound
from .models import API_KEY_COLUMNS, ApiKey, ApiKeyRow

PREFIX = "confab_"  # lets secret scanners and people recognise a key


@transaction
def make(
    project_id: str | None = None,
    name: str | None = None,
    is_read_only: bool = False,
    days: float | None = None,
) -> tuple[str, ApiKeyRow]:
    """A new key: its plain text, which is stored nowhere, and its row. It expires after `days`."""
    plain = new_secret(PREFIX)
    created_at = transaction_time.get()
    row = ApiKeyRow(
        id=new_id(),
        digest=digest_of(plain),
        project_id=project_id,
        name=name,
        created_at=created_at,
        revoked_at=None,
        is_read_only=is_read_only,
        expires_at=None if days is None else plus(created_at, days * DAY_SECONDS),
    )
    _insert(*row)
    return plain, row


@query
def find(plain: str) -> ApiKeyRow | None:
    """The key's row. None if there is none, or if it was revoked or has expired."""
    row = _by_digest(digest_of(plain)).fetchone()
    key = ApiKeyRow._make(row) if row else None
    return key if key and is_good(key.revoked_at, key.expires_at) else None


def is_good(revoked_at: str | None, expires_at: str | None) -> bool:
    """Whether a key opens anything now."""
    return revoked_at is None and (expires_at is None or now() < expires_at)


def note_use(key: ApiKeyRow) -> None:
    """Remember that the key was used, to the hour."""
    _last_use.note(key.id, key.used_at)


@query
def list_all() -> list[ApiKeyRow]:
    """Every key, oldest first, revoked ones too."""
    return [ApiKeyRow._make(row) for row in _all()]


@transaction
def revoke(id: str) -> None:
    """From now on the key opens nothing, nor do the tokens that were made with it.

    Revoking it twice is fine. Raises KeyNotFound.
    """
    if _by_id(id).fetchone() is None:
        raise KeyNotFound(f"There is no key {id}: see list-keys.")
    _revoke(id, transaction_time.get())


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


@prepared
def _set_used(id: Any, used_at: Any) -> Any:
    """When a key was last used."""
    return ApiKey.update(used_at=used_at).where(ApiKey.id == id)


_last_use = LastUse(_set_used)
