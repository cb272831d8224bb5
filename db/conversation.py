"""Conversations: the rows that both APIs share, and their verbs."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from peewee import BigIntegerField, BooleanField, CompositeKey, Model, TextField

from .clock import new_id, now
from .database import database, insertion, prepared, statement, transaction
from .errors import ConversationNotFound, StalePrecondition
from .event import CONVERSATION, Event
from .scope import Scope


class ConversationRow(NamedTuple):
    """A conversation as stored. Times are RFC 3339 text."""

    id: str
    project_id: str
    user_id: str | None
    title: str | None
    is_archived: bool  # as read from SQLite, 0 or 1
    created_at: str
    updated_at: str
    last_message_id: str | None
    version: int


class ConversationSlice(NamedTuple):
    """Conversations, newest first, and whether there are more in the direction asked for."""

    rows: list[ConversationRow]
    has_more: bool


class Conversation(Model):
    id = TextField(unique=True)
    project_id = TextField()
    user_id = TextField(null=True)
    title = TextField(null=True)
    is_archived = BooleanField()
    created_at = TextField()
    updated_at = TextField()
    last_message_id = TextField(null=True)
    # Counts everything that ever happened in the conversation: a message takes the next number as
    # its position, and so does each change that a follower must hear of. The ETag is made of it.
    version = BigIntegerField()

    class Meta:
        database = database
        # Clustered by project, so that a project's page is one run of neighbouring rows.
        primary_key = CompositeKey("project_id", "id")
        without_rowid = True

    @classmethod
    @statement
    def start(cls, scope: Scope, project_id: str, title: str | None = None) -> ConversationRow:
        """Create an empty conversation in the scope's user's name."""
        created_at = now()
        row = ConversationRow(
            new_id(), project_id, scope.user_id, title, False, created_at, created_at, None, 0
        )
        _insert(*row)
        return row

    @classmethod
    def find(cls, scope: Scope, conversation_id: str) -> ConversationRow:
        """Raises ConversationNotFound if the scope does not cover it."""
        return _covered(scope, conversation_id, _by_id(conversation_id).fetchone())

    @classmethod
    def newest(
        cls, scope: Scope, project_id: str | None = None, skip: int = 0, limit: int = 100
    ) -> ConversationSlice:
        """A page by number of rows to skip, for the first API."""
        project_id = project_id or scope.project_id
        start = END
        if skip:
            # Skip in the index alone, then start at the row that was found.
            first = _nth(project_id is not None, scope.user_id is not None)(
                project_id, scope.user_id, END, skip
            ).fetchone()
            if first is None:
                return ConversationSlice([], False)
            start = first[0]
        return _page(project_id, scope.user_id, None, limit, "from", start)

    @classmethod
    def page_for(
        cls,
        scope: Scope,
        project_id: str,
        is_archived: bool | None = None,
        limit: int = 20,
        after: str | None = None,
        before: str | None = None,
    ) -> ConversationSlice:
        """A page by cursor, for the second API. A cursor is an id, whose row may be gone."""
        direction = "before" if before else "after"
        return _page(
            project_id, scope.user_id, is_archived, limit, direction, before or after or END
        )

    @classmethod
    @transaction
    def change(
        cls,
        scope: Scope,
        conversation_id: str,
        if_match: Callable[[int], bool] | None = None,
        **changes: Any,
    ) -> ConversationRow:
        """Set `title` or `is_archived`. Setting what is set already changes nothing.

        Raises ConversationNotFound, and StalePrecondition if `if_match` refuses the version.
        """
        row = cls.lock(scope, conversation_id, if_match)
        changed = row._replace(**changes)
        if changed == row:
            return row
        changed = changed._replace(version=row.version + 1, updated_at=later(row.updated_at))
        _update(changed.id, changed.title, changed.is_archived, changed.updated_at, changed.version)
        Event.record(changed.id, changed.version, CONVERSATION)
        return changed

    @classmethod
    @transaction
    def remove(
        cls,
        scope: Scope,
        conversation_id: str,
        if_match: Callable[[int], bool] | None = None,
    ) -> None:
        """Delete it; the foreign keys take its messages and events along."""
        cls.lock(scope, conversation_id, if_match)
        _delete(conversation_id)

    @classmethod
    def lock(
        cls,
        scope: Scope,
        conversation_id: str,
        if_match: Callable[[int], bool] | None = None,
    ) -> ConversationRow:
        """The row, which stays as it is until the surrounding transaction ends.

        Every verb that writes to a conversation begins with this, so that versions are given out
        one by one. Raises ConversationNotFound and StalePrecondition.
        """
        row = _covered(scope, conversation_id, _by_id_for_update(conversation_id).fetchone())
        if if_match is not None and not if_match(row.version):
            raise StalePrecondition(
                "The conversation has changed since: get it again and repeat with its new ETag.",
                version=row.version,
            )
        return row

    @classmethod
    def advance(cls, row: ConversationRow, version: int, last_message_id: str | None) -> str:
        """Record that the messages of the locked `row` changed. Returns the time of the change."""
        updated_at = later(row.updated_at)
        _advance(row.id, version, last_message_id, updated_at)
        return updated_at


def later(than: str) -> str:
    """The time, or `than`, if the clock went back: a time stamp of one thing never does."""
    return max(now(), than)


# Greater than any id. A page that begins nowhere in particular begins here: without a bound on the
# id SQLite takes a user's page from the whole project rather than from the user's index, 32 ms for
# a user who has two of its 200,000 conversations; with it, 0.01.
END = "g"
COLUMNS = [getattr(Conversation, name) for name in ConversationRow._fields]


def _covered(scope: Scope, conversation_id: str, row: tuple[Any, ...] | None) -> ConversationRow:
    if row is None:
        raise ConversationNotFound(conversation_id)
    found = ConversationRow._make(row)
    if not scope.covers(found):
        raise ConversationNotFound(conversation_id)
    return found


@prepared
def _by_id(id: Any) -> Any:
    return Conversation.select(*COLUMNS).where(Conversation.id == id)


@prepared
def _by_id_for_update(id: Any) -> Any:
    query = Conversation.select(*COLUMNS).where(Conversation.id == id)
    return query.for_update() if database.for_update else query


_insert = insertion(Conversation, ConversationRow._fields)


@prepared
def _update(id: Any, title: Any, is_archived: Any, updated_at: Any, version: Any) -> Any:
    return Conversation.update(
        title=title, is_archived=is_archived, updated_at=updated_at, version=version
    ).where(Conversation.id == id)


@prepared
def _advance(id: Any, version: Any, last_message_id: Any, updated_at: Any) -> Any:
    return Conversation.update(
        version=version, last_message_id=last_message_id, updated_at=updated_at
    ).where(Conversation.id == id)


@prepared
def _delete(id: Any) -> Any:
    return Conversation.delete().where(Conversation.id == id)


def _page(
    project_id: str | None,
    user_id: str | None,
    is_archived: bool | None,
    limit: int,
    direction: str,
    bound: str,
) -> ConversationSlice:
    query = _page_query(project_id is not None, user_id is not None, is_archived, direction)
    found = query(project_id, user_id, bound, limit + 1).fetchall()
    rows = [ConversationRow._make(row) for row in found[:limit]]
    if direction == "before":
        rows.reverse()
    return ConversationSlice(rows, len(found) > limit)


def _where(by_project: bool, by_user: bool, project_id: Any, user_id: Any) -> list[Any]:
    return [Conversation.project_id == project_id] * by_project + [
        Conversation.user_id == user_id
    ] * by_user


@cache
def _page_query(
    by_project: bool, by_user: bool, is_archived: bool | None, direction: str
) -> prepared:
    """One query for each shape a page can have; each shape has its index."""

    def build(project_id: Any, user_id: Any, bound: Any, limit: Any) -> Any:
        where = _where(by_project, by_user, project_id, user_id)
        if is_archived is not None:  # not as a parameter: the index has the same condition
            where.append(Conversation.is_archived if is_archived else ~Conversation.is_archived)
        compare = {
            "from": Conversation.id <= bound,
            "after": Conversation.id < bound,
            "before": Conversation.id > bound,
        }
        order = Conversation.id.asc() if direction == "before" else Conversation.id.desc()
        query = Conversation.select(*COLUMNS).where(*where, compare[direction])
        return query.order_by(order).limit(limit)

    return prepared(build)


@cache
def _nth(by_project: bool, by_user: bool) -> prepared:
    def build(project_id: Any, user_id: Any, end: Any, skip: Any) -> Any:
        where = _where(by_project, by_user, project_id, user_id)
        query = Conversation.select(Conversation.id).where(*where, Conversation.id < end)
        return query.order_by(Conversation.id.desc()).limit(1).offset(skip)

    return prepared(build)


# Only conversations that have a user, or are archived, pay for these.
Conversation.add_index(
    Conversation.index(
        Conversation.project_id,
        Conversation.user_id,
        Conversation.id,
        where=Conversation.user_id.is_null(False),
        name="conversation_of_user_in_project",
    )
)
Conversation.add_index(
    Conversation.index(
        Conversation.user_id,
        Conversation.id,
        where=Conversation.user_id.is_null(False),
        name="conversation_of_user",
    )
)
Conversation.add_index(
    Conversation.index(
        Conversation.project_id,
        Conversation.id,
        where=Conversation.is_archived,
        name="conversation_archived",
    )
)
