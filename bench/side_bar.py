"""Side bars: pages of 50 with each filter, among 1,000 conversations and among 1,000,000."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from db import lists
from db.clock import now
from db.engine.database import database
from db.lists import ACTIVITY, CREATED, EVERY, Filter
from db.scope import EVERYTHING, Scope
from handlers.conversations import ConversationListQuery
from handlers.http import cursors
from handlers.http.cursors import Cursor

from .data import COMMON_TAG, CONVERSATIONS, RARE_TAG, use
from .growth import Growth, depth_in, in_turns, warm
from .growth_files import ARCHIVED_PROJECT, LARGE_PROJECT, NOT_ARCHIVED, USERS, file_of
from .inprocess import Gateway
from .options import Options, Section, Step
from .timing import Call

PAGE_ROWS = 50
LIST = f"{CONVERSATIONS}?limit={PAGE_ROWS}&include_messages=false"
FILTERS = {
    "all": "",
    "not archived": "&is_archived=false",
    "archived": "&is_archived=true",
    "pinned": "&is_pinned=true",
    "a common tag": f"&tag={COMMON_TAG}",
    "a rare tag": f"&tag={RARE_TAG}",
    "both tags": f"&tag={COMMON_TAG}&tag={RARE_TAG}",
    "a common tag, not archived": f"&tag={COMMON_TAG}&is_archived=false",
}
OF_USER = ("all", "not archived")
USER = {"X-User-Id": str(USERS[1])}
DEEP = {"by activity: all": EVERY, "by activity: not archived": Filter(is_archived=False)}
PROJECTS = f"{PAGE_ROWS} projects"
TRASH = "the trash, latest deleted first"
BEGINNING, NEWEST, NOTHING_NEW = (
    f"the feed of changes: {what}"
    for what in ("its beginning", f"the {PAGE_ROWS} newest", "nothing new")
)
OTHERS = (PROJECTS, TRASH, BEGINNING, NEWEST, NOTHING_NEW)


class Listed(NamedTuple):
    """A list in files of all sizes, and how many rows its page has in each."""

    growth: Growth
    rows: dict[int, int]

    @property
    def name(self) -> str:
        return self.growth.operation

    @property
    def ratio(self) -> float | None:
        """The largest file against the smallest whose page is as full. None if there is none."""
        *smaller, last = self.rows
        for size in smaller:
            if self.rows[size] == self.rows[last]:
                return median(each[last] / each[size] for each in self.growth.rounds)
        return None


def asked() -> Iterator[tuple[str, str, dict[str, str]]]:
    """The name of each list, its parameters, and its headers."""
    for kind, sort in (("by activity", ACTIVITY), ("by age", CREATED)):
        for where, place in (("", f"&project_id={LARGE_PROJECT}"), (", all projects", "")):
            base = f"&sort={sort}{place}"
            for name, parameters in FILTERS.items():
                yield f"{kind}{where}: {name}", base + parameters, {}
            for name in OF_USER:
                yield f"{kind}{where}: {name} of a user", base + FILTERS[name], USER
        few = f"&sort={sort}&project_id={ARCHIVED_PROJECT}&is_archived=false"
        yield f"{kind}: the {NOT_ARCHIVED} oldest, all others are archived", few, {}


def deep_cursor(size: int, which: Filter) -> str:
    """A cursor far behind the first page, in the file that is in use."""
    depth = depth_in(size // 4)  # of the large project's half, the half that is not archived
    page = lists.newest(EVERYTHING, LARGE_PROJECT, which, ACTIVITY, skip=depth, limit=1)
    query = ConversationListQuery(
        project_id=LARGE_PROJECT, sort=ACTIVITY, is_archived=which.is_archived
    )
    return cursors.encode(query.asked, Cursor("after", page.rows[0].activity))


def operations(size: int, gateway: Gateway) -> dict[str, Call]:
    """The calls in the file that is in use."""
    calls: dict[str, Call] = {}

    def add(name: str, path: str, headers: dict[str, str]) -> None:
        calls[name] = lambda: gateway.send("GET", path, **headers)

    for name, parameters, headers in asked():
        add(name, LIST + parameters, headers)
        if name in DEEP:
            cursor = f"&cursor={deep_cursor(size, DEEP[name])}"
            add(f"{name}, deep cursor", LIST + parameters + cursor, headers)
    add(PROJECTS, f"/api/v1/projects?limit={PAGE_ROWS}", {})
    of_project = f"?project_id={LARGE_PROJECT}&limit={PAGE_ROWS}"
    add(TRASH, f"/api/v1/trash{of_project}", {})
    feed = f"/api/v1/changes{of_project}"
    add(BEGINNING, feed, {})
    add(NEWEST, f"{feed}&after={feed_cursor(PAGE_ROWS)}", {})
    add(NOTHING_NEW, f"{feed}&after={feed_cursor(0)}", {})
    return calls


def feed_cursor(changes: int) -> str:
    """A cursor of the large project's feed behind which there are so many changes."""
    query = (
        "SELECT changed, id FROM conversation WHERE project_id = ? ORDER BY changed DESC LIMIT 1"
    )
    number, id = database.execute_sql(f"{query} OFFSET ?", [LARGE_PROJECT, changes]).fetchone()
    scope = Scope(LARGE_PROJECT)
    return cursors.encode({"changes": scope}, Cursor("after", f"c {number} {id} {now()}"))


def steps(options: Options) -> int:
    return len(options.sizes) + len(list(asked())) + len(DEEP) + len(OTHERS)


def measure(options: Options, step: Step) -> list[Listed]:
    gateway = Gateway()
    stores, calls = {}, {}
    for size in options.sizes:
        stores[size] = use(file_of(size, options.cache))
        calls[size] = operations(size, gateway)
        warm(Path(stores[size].place))
        step(f"{size:,} conversations")
    found = []
    for name in calls[options.sizes[0]]:
        rows = {}
        for size, store in stores.items():
            database.initialize(store)
            answer = json.loads(calls[size][name]())
            rows[size] = len(next(rows for rows in answer.values() if isinstance(rows, list)))
        found.append(Listed(in_turns(name, stores, calls, options), rows))
        step(name)
    for store in stores.values():
        store.close_all()
    return found


def section(found: list[Listed]) -> Section:
    sizes = found[0].growth.sizes
    last = sizes[-1]
    by_name = {each.name: each for each in found}
    ratios = {each.name: each.ratio for each in found if each.ratio is not None}

    def deep_against_first(name: str) -> float:
        pairs = zip(
            by_name[f"{name}, deep cursor"].growth.rounds, by_name[name].growth.rounds, strict=True
        )
        return median(deep[last] / first[last] for deep, first in pairs)

    def cell(each: Listed, size: int) -> str:
        rows = each.rows[size]
        return f"{each.growth.typical(size):,.0f}" + (f" ({rows})" if rows < PAGE_ROWS else "")

    def ratio(each: Listed) -> str:
        return f"**{each.ratio:.2f}**" if each.ratio else "–"

    measured = {f"side bar: {name}": ratio for name, ratio in ratios.items()}
    return Section(
        "Side bars",
        f"Median microseconds of a page of {PAGE_ROWS} without messages, in the files of the "
        "growth measurement. Of these conversations every 100th is pinned, every third has the "
        "common tag, and every 500th the rare one. A project without messages has half as many "
        f"again, all archived but for the {NOT_ARCHIVED} oldest. A number in parentheses says how "
        "many rows a page has that is not full. The ratio is that of the largest file to the "
        "smallest whose page has as many rows.",
        ["list", *(f"{size:,}" for size in sizes), "ratio"],
        [[each.name, *(cell(each, size) for size in sizes), ratio(each)] for each in found],
        measured
        | {"side bar: largest ratio": max(ratios.values())}
        | {f"side bar: {name}, deep against first": deep_against_first(name) for name in DEEP},
    )
