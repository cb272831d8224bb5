"""The feed of changes: which conversations changed since a reader looked, and which are gone.

Each change of a conversation gives it a new number (`change_numbers`): a new conversation, an
append, an edit, a rename, the start and the end of a stream, the way into the trash and out of it.
A reader who has seen all up to a number asks for those behind it. So a conversation comes once, as
it is now. A piece of a stream gives no number.
"""

from functools import cache
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from peewee import Tuple, fn

from . import conversations
from .change_numbers import is_settled
from .clock import AFTER_ALL_IDS, now
from .engine.database import query, snapshot
from .engine.prepared import prepared, prepared_for_list
from .errors import CursorExpired
from .models import CONVERSATION_COLUMNS, IS_KEPT, Conversation, ConversationRow, Tombstone
from .scope import Scope
from .trash import forgotten_before

LAST_ID = AFTER_ALL_IDS  # the place behind all that have a number
BATCH_ROWS = 1000  # looked at one by one, to find who waits for them


class Place(NamedTuple):
    """How far a reader has come: all up to this number, and this id under it.

    A reader who begins goes by ids, up to `id`, and knows that nothing before `number` is missing.
    `complete_at` is when the reader last had all that there was, or began.
    """

    number: int
    id: str
    complete_at: str
    is_beginning: bool = False


class Deleted(NamedTuple):
    """A conversation that is gone."""

    id: str
    deleted_at: str


class ChangeSlice(NamedTuple):
    """Changes, the oldest first; where to go on; and whether there are more now."""

    rows: list[ConversationRow | Deleted]
    place: Place
    has_more: bool


@snapshot
def page_for(
    scope: Scope, project_id: str | None = None, after: Place | None = None, limit: int = 100
) -> ChangeSlice:
    """What has changed behind a place. Without one: all conversations that there are.

    Raises CursorExpired if the reader may have missed that something is gone.
    """
    asked_at = now()
    scope = Scope(project_id or scope.project_id, scope.user_id)
    if after is None:
        after = Place(_newest(only_settled=True), "", asked_at, is_beginning=True)
    elif after.complete_at < forgotten_before():
        raise CursorExpired("What was deleted since is not known any more: begin without `after`.")
    # What has the reader's number may have a greater one by now, of which nobody may be told yet.
    elif after.number > _newest(only_settled=False):
        raise CursorExpired("The database was restored from a backup: begin without `after`.")
    if after.is_beginning:
        return _begin(scope, after, limit)
    asked = (scope.project_id, scope.user_id, after.number, after.id, limit + 1)
    shape = (scope.project_id is not None, scope.user_id is not None)
    both = merge(
        *(_changed(model, *shape)(*asked) for model in (Conversation, Tombstone)),
        key=itemgetter(0, 1),
    )
    found = [*islice(both, limit + 1)]
    has_more, found = len(found) > limit, found[:limit]
    if has_more:
        number, id, _ = found[-1]
        place = after._replace(number=number, id=id)
    else:
        number = max(after.number, _newest(only_settled=True))
        place = Place(number, LAST_ID, asked_at)
    return ChangeSlice(_rows(found), place, has_more)


def _begin(scope: Scope, after: Place, limit: int) -> ChangeSlice:
    """What there is behind an id. What changes meanwhile has a greater number than the place."""
    kept = _kept(scope.project_id is not None, scope.user_id is not None)
    found = kept(scope.project_id, scope.user_id, after.id, limit + 1).fetchall()
    rows = [ConversationRow.decoded(row) for row in found[:limit]]
    if len(found) > limit:
        return ChangeSlice([*rows], after._replace(id=rows[-1].id), True)
    return ChangeSlice([*rows], after._replace(id=LAST_ID, is_beginning=False), False)


def _rows(found: list[tuple[int, str, str | None]]) -> list[ConversationRow | Deleted]:
    """The conversations and what is gone, in the order of the numbers."""
    kept = [id for _, id, deleted_at in found if deleted_at is None]
    rows = {}
    if kept:
        rows = {row[0]: ConversationRow.decoded(row) for row in _some(kept)}
    return [
        rows[id] if deleted_at is None else Deleted(id, deleted_at) for _, id, deleted_at in found
    ]


def _newest(only_settled: bool) -> int:
    """The greatest number, of those that a reader may be told of or of all."""
    found = [_greatest(model, only_settled)().fetchone() for model in (Conversation, Tombstone)]
    return max((row[0] for row in found if row is not None), default=0)


@query
def scopes_since(number: int) -> tuple[set[Scope], int]:
    """The scopes in which something changed behind a number, and how far that looked."""
    scopes: set[Scope] = set()
    reached = number
    for model in (Conversation, Tombstone):
        place, is_full = (number, LAST_ID), True
        while is_full:
            found = _owners(model)(*place, BATCH_ROWS).fetchall()
            scopes |= {scope for _, _, p, u in found for scope in conversations.scopes_of(p, u)}
            is_full = len(found) == BATCH_ROWS
            place = found[-1][:2] if found else place
        reached = max(reached, place[0])
    return scopes, reached


@cache
def _kept(by_project: bool, by_user: bool) -> prepared:
    """The conversations of a scope by their ids."""

    def build(project_id: Any, user_id: Any, id: Any, limit: Any) -> Any:
        where = [Conversation.project_id == project_id] * by_project
        where += [Conversation.user_id == user_id] * by_user
        return (
            Conversation.select(*CONVERSATION_COLUMNS)
            .where(*where, Conversation.id > id, IS_KEPT)
            .order_by(Conversation.id)
            .limit(limit)
        )

    return prepared(build)


@cache
def _changed(model: Any, by_project: bool, by_user: bool) -> prepared:
    """The numbers and ids behind a place in a scope, and when they were deleted, if they were."""

    def build(project_id: Any, user_id: Any, number: Any, id: Any, limit: Any) -> Any:
        place = (model.changed, model.id)
        # As functions of the columns, so that the rows are read in their order and not sorted.
        owners = [(model.project_id, project_id)] * by_project + [
            (model.user_id, user_id)
        ] * by_user
        where = [fn.COALESCE(column, "") == value for column, value in owners]
        return (
            model.select(*place, model.deleted_at)
            .where(*where, Tuple(*place) > Tuple(number, id), *is_settled(model.changed))
            .order_by(*place)
            .limit(limit)
        )

    return prepared(build)


@prepared_for_list
def _some(ids: Any) -> Any:
    """Some conversations."""
    return Conversation.select(*CONVERSATION_COLUMNS).where(Conversation.id.in_(ids))


@cache
def _greatest(model: Any, only_settled: bool) -> prepared:
    """The greatest number in a table, or the greatest that nothing can come before any more."""
    return prepared(
        lambda: (
            model.select(model.changed)
            .where(model.changed >= 0, *is_settled(model.changed) * only_settled)
            .order_by(model.changed.desc())
            .limit(1)
        )
    )


@cache
def _owners(model: Any) -> prepared:
    """Whose the changes in a table are that come behind a number."""

    def build(number: Any, id: Any, limit: Any) -> Any:
        place = (model.changed, model.id)
        return (
            model.select(*place, model.project_id, model.user_id)
            .where(Tuple(*place) > Tuple(number, id), *is_settled(model.changed))
            .order_by(*place)
            .limit(limit)
        )

    return prepared(build)
