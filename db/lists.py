"""Lists of conversations: by age or by activity, whole or filtered, a page at a time.

A filter by flags reads a run of an index for each combination of flags that it lets through. The
runs are merged by the database, which takes from each no more than the page needs. So a page costs
the same among a thousand conversations and a million, whatever the filter leaves out.
"""

from functools import cache, reduce
from itertools import product
from operator import add, attrgetter
from typing import Any, NamedTuple

from peewee import SQL, fn

from . import projects
from .clock import AFTER_ALL_IDS, BEFORE_ALL_IDS
from .engine.database import query
from .engine.prepared import prepared
from .models import CONVERSATION_COLUMNS, IS_KEPT, Conversation, ConversationRow, Tag
from .scope import Scope

CREATED, ACTIVITY = "created", "activity"  # what a list is sorted by, the newest first
SAMPLE_ROWS = 100  # of a tag, to find the rarest one
BATCH_ROWS = 500  # looked at together, to find those that have the metadata


class Filter(NamedTuple):
    """What a list lets through. None lets everything through."""

    is_archived: bool | None = None
    is_pinned: bool | None = None
    tags: tuple[str, ...] = ()  # a conversation must have all of them
    metadata: tuple[tuple[str, str], ...] = ()  # these values under these names; for `page_for`

    def lets_through(self, row: ConversationRow) -> bool:
        """Whether a row has the metadata, which no index knows."""
        found = row.metadata or {}
        return all(name in found and found[name] == value for name, value in self.metadata)


EVERY = Filter()


class ConversationSlice(NamedTuple):
    """Conversations, newest first, and whether there are more in the direction asked for."""

    rows: list[ConversationRow]
    has_more: bool


class _Shape(NamedTuple):
    """What makes one query for a page another than that for another page."""

    by_project: bool
    by_user: bool
    sort: str
    is_archived: bool | None
    is_pinned: bool | None
    tags: int

    @property
    def runs(self) -> list[tuple[bool | None, bool | None]]:
        """The flags of each run of the index that is read. None: whatever they are."""
        is_plain = self.is_archived is None and self.is_pinned is None and not self.is_by_tag
        if self.sort == CREATED and (self.by_user or is_plain):
            return [(self.is_archived, self.is_pinned)]
        archived, pinned = (
            [False, True] if flag is None else [flag] for flag in (self.is_archived, self.is_pinned)
        )
        return list(product(archived, pinned))

    @property
    def is_by_tag(self) -> bool:
        """Whether the index of the first tag is read. A user has few conversations: theirs is."""
        return self.tags > 0 and not self.by_user


@query
def page_for(
    scope: Scope,
    project_id: str | None = None,
    which: Filter = EVERY,
    sort: str = CREATED,
    limit: int = 20,
    after: str | None = None,
    before: str | None = None,
    ascending: bool = False,
) -> ConversationSlice:
    """A page by cursor: a conversation's `id` or `activity`. It may be gone or have moved.

    `after` and `before` follow the order asked for. By metadata it looks at all conversations on
    the way: 5 µs each.
    """
    scope = Scope(project_id or scope.project_id, scope.user_id)
    is_back = bool(before) != ascending
    direction, bound = "before" if is_back else "after", before or after
    bound = bound or (BEFORE_ALL_IDS if is_back else AFTER_ALL_IDS)
    found = _read(scope, which, sort, limit + 1, direction, bound)
    passed = [row for row in found if which.lets_through(row)]
    while len(passed) <= limit and found and which.metadata:
        bound = found[-1].id if sort == CREATED else found[-1].activity
        found = _read(scope, which, sort, BATCH_ROWS, direction, bound)
        passed += filter(which.lets_through, found)
    rows = passed[:limit]
    if before:
        rows.reverse()
    return ConversationSlice(rows, len(passed) > limit)


def newest(
    scope: Scope,
    project_id: str | None = None,
    which: Filter = EVERY,
    sort: str = CREATED,
    skip: int = 0,
    limit: int = 100,
) -> ConversationSlice:
    """A page by the number of rows to skip."""
    scope = Scope(project_id or scope.project_id, scope.user_id)
    direction, bound = "after", AFTER_ALL_IDS
    if skip and not _is_across_projects(scope, sort):
        # Skip in the index alone, then begin at the row that was found.
        shape, values = _asked(scope, which, sort)
        first = _nth(shape)(*values, bound, skip).fetchone()
        if first is None:
            return ConversationSlice([], False)
        direction, bound, skip = "from", first[0], 0
    found = _read(scope, which, sort, skip + limit + 1, direction, bound)[skip:]
    return ConversationSlice(found[:limit], len(found) > limit)


def _read(
    scope: Scope, which: Filter, sort: str, limit: int, direction: str, bound: str
) -> list[ConversationRow]:
    """The rows on one side of a bound, the nearest first."""
    if _is_across_projects(scope, sort):
        return _across_projects(scope, which, limit, direction, bound)
    shape, values = _asked(scope, which, sort)
    # Without a bound SQLite takes a user's page from the whole project rather than from the user's
    # index: 32 ms for a user who has two of its 200,000 conversations, against 0.01 ms.
    found = _page(shape, direction)(*values, bound, limit)
    return [ConversationRow.decoded(row) for row in found]


# --- Several projects


def _is_across_projects(scope: Scope, sort: str) -> bool:
    """Whether no index has the order. One of all projects would cost each append a page."""
    return sort == ACTIVITY and scope.project_id is None


def _across_projects(
    scope: Scope, which: Filter, limit: int, direction: str, bound: str
) -> list[ConversationRow]:
    """Rows by activity of all projects in which the scope has conversations, the nearest first.

    It costs a step for each project, and a page of each that was active as lately as the rows.
    """
    is_back = direction == "before"
    found: list[ConversationRow] = []
    for project_id, newest_activity in projects.by_activity(scope):
        if is_back and newest_activity <= bound:
            break  # nobody was active later in the projects that follow
        if len(found) == limit and not is_back and newest_activity < found[-1].activity:
            break
        of_project = Scope(project_id, scope.user_id)
        found += _read(of_project, which, ACTIVITY, limit, direction, bound)
        found.sort(key=attrgetter("activity"), reverse=not is_back)
        del found[limit:]
    return found


# --- One query


def _asked(scope: Scope, which: Filter, sort: str) -> tuple[_Shape, tuple[Any, ...]]:
    """The shape of the query, and its first values."""
    by_project, by_user = (value is not None for value in scope)
    shape = _Shape(by_project, by_user, sort, which.is_archived, which.is_pinned, len(which.tags))
    tags = which.tags
    if len(tags) > 1 and not by_user:
        alone = _nth(shape._replace(tags=1))

        def reach(tag: str) -> str:
            found = alone(*scope, tag, AFTER_ALL_IDS, SAMPLE_ROWS).fetchone()
            return str(found[0]) if found else ""

        # The page is read along the rarest tag: the one whose newest rows reach the furthest back.
        tags = tuple(sorted(tags, key=reach))
    return shape, (*scope, *tags)


@cache
def _page(shape: _Shape, direction: str) -> prepared:
    """A page, in one query for each shape that a page can have."""

    def build(project_id: Any, user_id: Any, *rest: Any) -> Any:
        *tags, bound, limit = rest
        key = _key(shape)
        compare = {"from": key <= bound, "after": key < bound, "before": key > bound}[direction]
        # The key's own column takes the place of the conversation's, which has the same value. So
        # the database knows that the runs come in this order.
        columns = [
            key.alias(column.column_name) if column.column_name == _name(shape) else column
            for column in CONVERSATION_COLUMNS
        ]
        runs = [
            _run(shape, columns, compare, flags, project_id, user_id, tags) for flags in shape.runs
        ]
        order = SQL(f'"{_name(shape)}" {"ASC" if direction == "before" else "DESC"}')
        return reduce(add, runs).order_by(order).limit(limit)

    return prepared(build, 4 + shape.tags)


@cache
def _nth(shape: _Shape) -> prepared:
    """The key of the conversation that stands behind `skip` newer ones."""

    def build(project_id: Any, user_id: Any, *rest: Any) -> Any:
        *tags, bound, skip = rest
        key = _key(shape)
        runs = [
            _run(shape, [key.alias("key")], key < bound, flags, project_id, user_id, tags)
            for flags in shape.runs
        ]
        return reduce(add, runs).order_by(SQL('"key" DESC')).limit(1).offset(skip)

    return prepared(build, 4 + shape.tags)


def _key(shape: _Shape) -> Any:
    """What the list is sorted by, as the index has it that is read."""
    if shape.is_by_tag:
        return Tag.conversation_id if shape.sort == CREATED else Tag.activity
    return Conversation.id if shape.sort == CREATED else Conversation.activity


def _name(shape: _Shape) -> str:
    return "id" if shape.sort == CREATED else "activity"


def _run(
    shape: _Shape,
    columns: list[Any],
    compare: Any,
    flags: tuple[bool | None, bool | None],
    project_id: Any,
    user_id: Any,
    tags: list[Any],
) -> Any:
    """The conversations with these flags, in the order of the index."""
    of: Any = Tag if shape.is_by_tag else Conversation
    where = [compare, *[of.project_id == project_id] * shape.by_project]
    where += [IS_KEPT] * (not shape.is_by_tag)  # the tags of what is in the trash are gone
    where += [Conversation.user_id == user_id] * shape.by_user
    for column, flag in zip((of.is_archived, of.is_pinned), flags, strict=True):
        if flag is not None:
            where.append(column == flag)
    others = tags
    if shape.is_by_tag:
        where.append(Tag.name == tags[0])
        others = tags[1:]
    where += [_has_tag(of, name) for name in others]
    run = of.select(*columns)
    if shape.is_by_tag:
        run = run.join(Conversation, on=_same_conversation())
    return run.where(*where)


def _same_conversation() -> Any:
    return (Conversation.project_id == Tag.project_id) & (Conversation.id == Tag.conversation_id)


def _has_tag(of: Any, name: Any) -> Any:
    other = Tag.alias()
    id = Tag.conversation_id if of is Tag else Conversation.id
    return fn.EXISTS(other.select(SQL("1")).where(other.conversation_id == id, other.name == name))
