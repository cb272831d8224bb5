"""Conversations: start, find, list, change and remove them; lock one to write to it."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from . import event_log
from .clock import new_id
from .engine.database import database, query, statement, transaction, transaction_time
from .engine.notices import notify
from .engine.prepared import insertion, prepared, prepared_for_list
from .errors import ConversationNotFound, StalePrecondition
from .models import CONVERSATION, CONVERSATION_COLUMNS, Conversation, ConversationRow, EventRow
from .scope import Scope

# Greater than any id. A page that begins nowhere in particular begins here: without a bound on the
# id SQLite takes a user's page from the whole project rather than from the user's index. That costs
# 32 ms for a user who has two of its 200,000 conversations, against 0.01 ms.
AFTER_ALL_IDS = "g"
BATCH_ROWS = 1000  # asked for by id at a time

# Whether a version is the one that the caller knows.
IfMatch = Callable[[int], bool]


class ConversationSlice(NamedTuple):
    """Conversations, newest first, and whether there are more in the direction asked for."""

    rows: list[ConversationRow]
    has_more: bool


@statement
def start(scope: Scope, project_id: str, title: str | None = None) -> ConversationRow:
    """Create an empty conversation in the name of the scope's user."""
    created_at = transaction_time.get()
    row = ConversationRow(
        id=new_id(),
        project_id=project_id,
        user_id=scope.user_id,
        title=title,
        is_archived=False,
        created_at=created_at,
        updated_at=created_at,
        last_message_id=None,
        version=0,
    )
    _insert(*row)
    return row


def find(scope: Scope, conversation_id: str) -> ConversationRow:
    """Raises ConversationNotFound if the scope does not cover it."""
    return _covered(scope, conversation_id, _by_id(conversation_id).fetchone())


def newest(
    scope: Scope, project_id: str | None = None, skip: int = 0, limit: int = 100
) -> ConversationSlice:
    """A page by the number of rows to skip."""
    project_id = project_id or scope.project_id
    bound = AFTER_ALL_IDS
    if skip:
        # Skip in the index alone, then begin at the row that was found.
        first = _nth(project_id is not None, scope.user_id is not None)(
            project_id, scope.user_id, AFTER_ALL_IDS, skip
        ).fetchone()
        if first is None:
            return ConversationSlice([], False)
        bound = first[0]
    return _read_page(project_id, scope.user_id, None, limit, "from", bound)


@query
def page_for(
    scope: Scope,
    project_id: str,
    is_archived: bool | None = None,
    limit: int = 20,
    after: str | None = None,
    before: str | None = None,
) -> ConversationSlice:
    """A page by cursor. A cursor is an id, whose row may be gone."""
    direction = "before" if before else "after"
    bound = before or after or AFTER_ALL_IDS
    return _read_page(project_id, scope.user_id, is_archived, limit, direction, bound)


@query
def changed(versions: Mapping[str, int]) -> set[str]:
    """Of these conversations, those that have another version now, or none."""
    ids = list(versions)
    found: dict[str, int] = {}
    for start in range(0, len(ids), BATCH_ROWS):
        found.update(_versions(ids[start : start + BATCH_ROWS]).fetchall())
    return {id for id in ids if found.get(id) != versions[id]}


@transaction
def change(
    scope: Scope, conversation_id: str, if_match: IfMatch | None = None, **changes: Any
) -> ConversationRow:
    """Set `title` or `is_archived`. Setting what is set already changes nothing.

    Raises ConversationNotFound, and StalePrecondition if `if_match` refuses the version.
    """
    row = lock(scope, conversation_id, if_match)
    changed = row._replace(**changes)
    if changed == row:
        return row
    changed = changed._replace(version=row.version + 1, updated_at=later(row.updated_at))
    _update(changed.id, changed.title, changed.is_archived, changed.updated_at, changed.version)
    event_log.record(EventRow(changed.id, changed.version, CONVERSATION))
    notify(changed.id)
    return changed


@transaction
def remove(scope: Scope, conversation_id: str, if_match: IfMatch | None = None) -> None:
    """Delete a conversation. The foreign keys take its messages and events along.

    Raises ConversationNotFound, and StalePrecondition if `if_match` refuses the version.
    """
    lock(scope, conversation_id, if_match)
    _delete(conversation_id)
    notify(conversation_id)


def lock(scope: Scope, conversation_id: str, if_match: IfMatch | None = None) -> ConversationRow:
    """The row, which stays as it is until the surrounding transaction ends.

    Every verb that writes to a conversation begins with this, so that versions are given out one by
    one. Raises ConversationNotFound and StalePrecondition.
    """
    row = _covered(scope, conversation_id, _by_id_for_update(conversation_id).fetchone())
    if if_match is not None and not if_match(row.version):
        raise StalePrecondition(
            "The conversation has changed since: get it again and repeat with its new ETag.",
            version=row.version,
        )
    return row


def advance(
    row: ConversationRow, version: int, last_message_id: str | None, is_news: bool = True
) -> ConversationRow:
    """Store that the messages of the locked `row` changed, and return it as it is then.

    Notify those who wait for it, unless there is nothing to tell them.
    """
    updated_at = later(row.updated_at)
    _advance(row.id, version, last_message_id, updated_at)
    if is_news:
        notify(row.id)
    return row._replace(version=version, last_message_id=last_message_id, updated_at=updated_at)


def later(than: str) -> str:
    """The transaction's time, or `than` if the clock went back: a row's time never goes back."""
    return max(transaction_time.get(), than)


def _covered(scope: Scope, conversation_id: str, row: tuple[Any, ...] | None) -> ConversationRow:
    if row is None:
        raise ConversationNotFound(conversation_id)
    found = ConversationRow._make(row)
    if not scope.covers(found):
        raise ConversationNotFound(conversation_id)
    return found


def _read_page(
    project_id: str | None,
    user_id: str | None,
    is_archived: bool | None,
    limit: int,
    direction: str,
    bound: str,
) -> ConversationSlice:
    query = _page(project_id is not None, user_id is not None, is_archived, direction)
    found = query(project_id, user_id, bound, limit + 1).fetchall()
    rows = [ConversationRow._make(row) for row in found[:limit]]
    if direction == "before":
        rows.reverse()
    return ConversationSlice(rows, len(found) > limit)


_insert = insertion(Conversation, ConversationRow._fields)


@prepared
def _by_id(id: Any) -> Any:
    """One conversation."""
    return Conversation.select(*CONVERSATION_COLUMNS).where(Conversation.id == id)


@prepared
def _by_id_for_update(id: Any) -> Any:
    """One conversation, locked where the engine locks rows."""
    query = Conversation.select(*CONVERSATION_COLUMNS).where(Conversation.id == id)
    return query.for_update() if database.for_update else query


@prepared_for_list
def _versions(ids: Any) -> Any:
    """How far some conversations have come."""
    return Conversation.select(Conversation.id, Conversation.version).where(
        Conversation.id.in_(ids)
    )


@cache
def _page(by_project: bool, by_user: bool, is_archived: bool | None, direction: str) -> prepared:
    """A page, in one query for each shape that a page can have. Each shape has its index."""

    def build(project_id: Any, user_id: Any, bound: Any, limit: Any) -> Any:
        where = _of_owner(by_project, by_user, project_id, user_id)
        if is_archived is not None:  # not as a parameter: the index has the same condition
            where.append(Conversation.is_archived if is_archived else ~Conversation.is_archived)
        compare = {
            "from": Conversation.id <= bound,
            "after": Conversation.id < bound,
            "before": Conversation.id > bound,
        }
        order = Conversation.id.asc() if direction == "before" else Conversation.id.desc()
        query = Conversation.select(*CONVERSATION_COLUMNS).where(*where, compare[direction])
        return query.order_by(order).limit(limit)

    return prepared(build)


@cache
def _nth(by_project: bool, by_user: bool) -> prepared:
    """The id of the conversation that stands behind `skip` newer ones."""

    def build(project_id: Any, user_id: Any, bound: Any, skip: Any) -> Any:
        where = _of_owner(by_project, by_user, project_id, user_id)
        query = Conversation.select(Conversation.id).where(*where, Conversation.id < bound)
        return query.order_by(Conversation.id.desc()).limit(1).offset(skip)

    return prepared(build)


def _of_owner(by_project: bool, by_user: bool, project_id: Any, user_id: Any) -> list[Any]:
    return [Conversation.project_id == project_id] * by_project + [
        Conversation.user_id == user_id
    ] * by_user


@prepared
def _update(id: Any, title: Any, is_archived: Any, updated_at: Any, version: Any) -> Any:
    """The fields that a caller may change."""
    return Conversation.update(
        title=title, is_archived=is_archived, updated_at=updated_at, version=version
    ).where(Conversation.id == id)


@prepared
def _advance(id: Any, version: Any, last_message_id: Any, updated_at: Any) -> Any:
    """What a change of the messages moves in their conversation."""
    return Conversation.update(
        version=version, last_message_id=last_message_id, updated_at=updated_at
    ).where(Conversation.id == id)


@prepared
def _delete(id: Any) -> Any:
    """One conversation, and by the foreign keys all that belongs to it."""
    return Conversation.delete().where(Conversation.id == id)
