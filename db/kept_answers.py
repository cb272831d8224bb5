"""Answers that belong to no conversation. They are kept for a day, for who goes on from one.

Then it becomes a conversation: see `answers`. Until then it is in no list, search or feed.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from .clock import ago
from .engine.database import database, query, transaction, transaction_time
from .engine.prepared import insertion, prepared
from .errors import MessageNotFound
from .messages import Draft
from .models import KEPT_ANSWER_COLUMNS, Item, KeptAnswer, KeptAnswerRow
from .scope import Scope

KEPT_SECONDS = timedelta(hours=24).total_seconds()
SWEEP_ROWS = 20  # expired ones that each new one takes away, and each sweep of the trash
_FIELDS = ("role", "content", "status", "metadata", "id")  # of a draft


class Kept(NamedTuple):
    """What was said, and its answer. The messages have their ids."""

    id: str
    project_id: str
    user_id: str | None
    messages: list[Draft]


@transaction
def keep(scope: Scope, project_id: str, id: str, messages: Sequence[Draft]) -> None:
    """Keep an answer, under the id of its first message, with what was said before it."""
    rows = [
        [isinstance(it.content, Item), *(getattr(it, name) for name in _FIELDS)] for it in messages
    ]
    sweep()
    text = json.dumps(rows, ensure_ascii=False)
    _insert(id, project_id, scope.user_id, transaction_time.get(), text)


@transaction
def sweep() -> bool:
    """Take a few of the oldest expired ones away. Return whether there may be more."""
    return int(_sweep(ago(KEPT_SECONDS), SWEEP_ROWS).rowcount) >= SWEEP_ROWS


@query
def find(scope: Scope, id: str) -> Kept:
    """Raises MessageNotFound if there is none that the scope covers, or none any more."""
    found = _by_id(id, ago(KEPT_SECONDS)).fetchone()
    row = KeptAnswerRow._make(found) if found else None
    if row is None or not scope.covers(row):
        raise MessageNotFound(id)
    return _read(row)


@query
def all_of(user_id: str, project_id: str | None) -> list[Kept]:
    """All of a user's, in one project or all."""
    rows = [KeptAnswerRow._make(row) for row in _of_user(user_id)]
    return [_read(row) for row in rows if project_id in (None, row.project_id)]


@transaction
def take(id: str) -> bool:
    """Keep it no longer. Return whether it was there: of several, one takes it."""
    return int(_delete(id).rowcount) > 0


@transaction
def forget(user_id: str, project_id: str | None) -> int:
    """Delete all of a user's, in one project or all. Return how many there were."""
    return sum(take(kept.id) for kept in all_of(user_id, project_id))


def _read(row: KeptAnswerRow) -> Kept:
    return Kept(row.id, row.project_id, row.user_id, [*_drafts(row.messages)])


def _drafts(text: str) -> Iterator[Draft]:
    for is_item, *values in json.loads(text):
        draft = Draft(**dict(zip(_FIELDS, values, strict=True)))
        yield draft._replace(content=Item(draft.content)) if is_item else draft


_insert = insertion(KeptAnswer, KeptAnswerRow._fields)


@prepared
def _by_id(id: Any, kept: Any) -> Any:
    """An answer that is not too old."""
    return KeptAnswer.select(*KEPT_ANSWER_COLUMNS).where(
        KeptAnswer.id == id, KeptAnswer.created_at >= kept
    )


@prepared
def _of_user(user_id: Any) -> Any:
    """A user's answers."""
    return KeptAnswer.select(*KEPT_ANSWER_COLUMNS).where(KeptAnswer.user_id == user_id)


@prepared
def _delete(id: Any) -> Any:
    """One answer."""
    return KeptAnswer.delete().where(KeptAnswer.id == id)


@prepared
def _sweep(kept: Any, limit: Any) -> Any:
    """A few of the oldest that have expired."""
    expired = (
        KeptAnswer.select(KeptAnswer.id)
        .where(KeptAnswer.created_at < kept)
        .order_by(KeptAnswer.created_at)
        .limit(limit)
    )
    if database.for_update:  # another transaction may be sweeping these
        expired = expired.for_update(skip_locked=True)
    return KeptAnswer.delete().where(KeptAnswer.id.in_(expired))
