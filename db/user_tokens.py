"""Tokens of users, which an app may hold: each is good for one user, and for a while.

They are stored as keys are, as digests. One opens no more than the key that it was made with, and
nothing when that is revoked.
"""

from typing import Any, NamedTuple

from . import api_keys
from .clock import new_id, now, plus
from .credentials import LastUse, digest_of, new_secret
from .engine.database import query, transaction, transaction_time
from .engine.prepared import insertion, prepared
from .errors import KeyNotFound
from .models import USER_TOKEN_COLUMNS, ApiKey, UserToken, UserTokenRow

PREFIX = "confab_user_"
MAX_SECONDS = 2_592_000  # for which one is good at most: 30 days
SWEEP_ROWS = 20  # expired ones that each new token takes away


class Made(NamedTuple):
    """A new token: its plain text, which is stored nowhere, and its row."""

    plain: str
    row: UserTokenRow


@transaction
def make(user_id: str, project_id: str | None, seconds: float, key_id: str | None = None) -> Made:
    """A token for a user in a project, or in all. It expires after so many seconds."""
    plain, created_at = new_secret(PREFIX), transaction_time.get()
    row = UserTokenRow(
        id=new_id(),
        digest=digest_of(plain),
        key_id=key_id,
        project_id=project_id,
        user_id=user_id,
        created_at=created_at,
        expires_at=plus(created_at, seconds),
        used_at=None,
    )
    _sweep(created_at, SWEEP_ROWS)
    _insert(*row)
    return Made(plain, row)


@query
def find(plain: str) -> UserTokenRow | None:
    """The token's row. None if there is none, or if it or its key is not good any more."""
    found = _by_digest(digest_of(plain)).fetchone()
    if found is None:
        return None
    *values, revoked_at, key_expires_at = found
    row = UserTokenRow._make(values)
    is_good = now() < row.expires_at and api_keys.is_good(revoked_at, key_expires_at)
    return row if is_good else None


def note_use(row: UserTokenRow) -> None:
    """Remember that the token was used, to the hour."""
    _last_use.note(row.id, row.used_at)


@query
def list_all() -> list[UserTokenRow]:
    """Every token that has not expired, oldest first."""
    return [UserTokenRow._make(row) for row in _all(now())]


@transaction
def revoke(id: str) -> None:
    """End a token. Raises KeyNotFound if there is none."""
    if _delete(id).rowcount == 0:
        raise KeyNotFound(f"There is no token {id}: see list-tokens.")


@transaction
def revoke_all(user_id: str, project_id: str | None = None) -> int:
    """End the tokens of a user, in one project or all. Return how many there were."""
    if project_id is None:
        return int(_delete_all(user_id).rowcount)
    return int(_delete_in_project(user_id, project_id).rowcount)


_insert = insertion(UserToken, UserTokenRow._fields)


@prepared
def _by_digest(digest: Any) -> Any:
    """The token that a caller sent, and what its key says."""
    return (
        UserToken.select(*USER_TOKEN_COLUMNS, ApiKey.revoked_at, ApiKey.expires_at)
        .left_outer_join(ApiKey, on=(ApiKey.id == UserToken.key_id))
        .where(UserToken.digest == digest)
    )


@prepared
def _all(now: Any) -> Any:
    """Every token that is good. Ids grow with age."""
    return (
        UserToken.select(*USER_TOKEN_COLUMNS)
        .where(UserToken.expires_at > now)
        .order_by(UserToken.id)
    )


@prepared
def _delete(id: Any) -> Any:
    """One token."""
    return UserToken.delete().where(UserToken.id == id)


@prepared
def _delete_all(user_id: Any) -> Any:
    """A user's tokens."""
    return UserToken.delete().where(UserToken.user_id == user_id)


@prepared
def _delete_in_project(user_id: Any, project_id: Any) -> Any:
    """A user's tokens for one project."""
    return UserToken.delete().where(
        UserToken.user_id == user_id, UserToken.project_id == project_id
    )


@prepared
def _sweep(now: Any, limit: Any) -> Any:
    """A few tokens that have expired."""
    expired = (
        UserToken.select(UserToken.id)
        .where(UserToken.expires_at <= now)
        .order_by(UserToken.expires_at)
        .limit(limit)
    )
    return UserToken.delete().where(UserToken.id.in_(expired))


@prepared
def _set_used(id: Any, used_at: Any) -> Any:
    """When a token was last used."""
    return UserToken.update(used_at=used_at).where(UserToken.id == id)


_last_use = LastUse(_set_used)
