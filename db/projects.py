"""Projects: which ones have conversations, and when somebody was last active in them."""

from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from peewee import Select, fn

from .clock import time_of
from .engine.database import query
from .engine.prepared import prepared
from .models import FLAG_PAIRS, FLAGS, Conversation
from .scope import Scope

BATCH_ROWS = 1000


class Project(NamedTuple):
    """A project that has conversations. The time is RFC 3339 text."""

    id: str
    last_active_at: str


class ProjectSlice(NamedTuple):
    """Projects by their ids, as the database sorts them, and whether there are more."""

    rows: list[Project]
    has_more: bool


@query
def page_for(scope: Scope, limit: int = 100, after: str = "") -> ProjectSlice:
    """Those in which the scope has conversations. A page costs its own length."""
    if scope.project_id is not None:
        found = _newest_activities(_one, scope, scope.project_id)
    else:
        found = _newest_activities(_page, scope, after, limit + 1)
    rows = [Project(id, time_of(activity)) for id, activity in found]
    return ProjectSlice(rows[:limit], len(rows) > limit)


def by_activity(scope: Scope) -> list[tuple[str, str]]:
    """The ids of all projects in which the scope has conversations, with the newest activity.

    The latest active comes first.
    """
    found: list[tuple[str, str]] = []
    is_full = True
    while is_full:
        after = found[-1][0] if found else ""
        some = _newest_activities(_page, scope, after, BATCH_ROWS)
        found += some
        is_full = len(some) == BATCH_ROWS
    return sorted(found, key=itemgetter(1), reverse=True)


def _newest_activities(
    query: Callable[[bool], prepared], scope: Scope, *values: object
) -> list[tuple[str, str]]:
    found = query(scope.user_id is not None)(scope.user_id, *values)
    return [
        (id, max(activity for activity in activities if activity))
        for id, *activities in found
        if id is not None and any(activities)  # a row without an id ends the list
    ]


@cache
def _page(by_user: bool) -> prepared:
    """The projects behind one, each found by a step in an index from the one before it."""

    def build(user_id: Any, after: Any, limit: Any) -> Any:
        def next_to(id: Any) -> Any:
            other = Conversation.alias()
            of_user = [other.user_id == user_id] * by_user + [other.deleted_at.is_null()]
            return other.select(fn.MIN(other.project_id)).where(*of_user, other.project_id > id)

        first = next_to(after).cte("project", recursive=True, columns=("id",))
        others = Select([first], [next_to(first.c.id)]).where(first.c.id.is_null(False))
        projects = first.union_all(others)
        found = projects.select_from(projects.c.id, *_activities(by_user, user_id, projects.c.id))
        return found.limit(limit)

    return prepared(build)


@cache
def _one(by_user: bool) -> prepared:
    """One project's activities."""

    def build(user_id: Any, project_id: Any) -> Any:
        found = Conversation.select(Conversation.project_id).where(
            Conversation.project_id == project_id
        )
        row = found.limit(1).cte("project", columns=("id",))
        return row.select_from(row.c.id, *_activities(by_user, user_id, row.c.id))

    return prepared(build)


def _activities(by_user: bool, user_id: Any, project_id: Any) -> list[Any]:
    """The newest activity for each pair of flags, since an index has each pair apart."""
    found = []
    for flags in FLAG_PAIRS:
        other = Conversation.alias()
        where = [other.user_id == user_id] * by_user
        where += [other.project_id == project_id, other.deleted_at.is_null()]
        where += [
            getattr(other, column.name) == flag for column, flag in zip(FLAGS, flags, strict=True)
        ]
        found.append(other.select(fn.MAX(other.activity)).where(*where))
    return found
