"""Branches: a path through a large tree against a line, and all code against that before branches.

The tree comes in two layouts. If its branches were written one after another, a path is two runs of
neighbouring rows. If they were written in turn, each message is a run of its own: the worst case.
"""

import json
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

from db import conversations, messages
from db.messages import Draft
from db.scope import EVERYTHING

from . import unbranched
from .data import CONVERSATIONS, LONG_PROJECT, TEXTS, Batch, fill, ids, project, use
from .inprocess import Gateway
from .options import Options, Section, Step
from .timing import Call, Compared, in_turns

TREE_PROJECT = project(5)
BRANCHES = 99
STEM_MESSAGES = BRANCH_MESSAGES = 50  # a path has both
PATH_MESSAGES = STEM_MESSAGES + BRANCH_MESSAGES
TREE_MESSAGES = STEM_MESSAGES + BRANCHES * BRANCH_MESSAGES
LINES = 20  # conversations without branches
CALLS = 300  # of each request, a round
REQUESTS = {
    "path, get": "?",
    "path, list, oldest first": f"/messages?limit={PATH_MESSAGES}&order=asc&",
    "path, list, newest first": f"/messages?limit={PATH_MESSAGES}&order=desc&",
}
ACTIVE = "path, active branch"


class Tree(NamedTuple):
    """A conversation, and the messages with which its long branches end."""

    id: str
    leaves: list[str]


def one_after_another() -> Tree:
    id = conversations.start(EVERYTHING, TREE_PROJECT).id
    stem = _say(id, None, STEM_MESSAGES)
    return Tree(id, [_say(id, stem, BRANCH_MESSAGES) for _ in range(BRANCHES)])


def in_turn() -> Tree:
    """The stem has no neighbours, too: one branch, which begins at the root, grows with it."""
    id = conversations.start(EVERYTHING, TREE_PROJECT).id
    stem = branch = _say(id, None)
    for _ in range(STEM_MESSAGES - 1):
        branch, stem = _say(id, branch), _say(id, stem)
    _say(id, branch)
    leaves = [stem] * (BRANCHES - 1)
    for _ in range(BRANCH_MESSAGES):
        leaves = [_say(id, leaf) for leaf in leaves]
    return Tree(id, leaves)


def _say(id: str, parent_id: str | None, times: int = 1) -> str:
    """Append some messages below one. The id of the last of them."""
    first = Draft("user", TEXTS[0], parent_id=parent_id)
    others = [Draft("user", text) for text in TEXTS[1:times]]
    return messages.append(EVERYTHING, id, [first, *others])[-1].id


def steps(options: Options) -> int:
    return 1 + 2 * (len(REQUESTS) + 1) + unbranched.steps(options)


def measure(options: Options, step: Step) -> list[Compared]:
    return [*_paths(options, step), *unbranched.measure(options, step)]


def _paths(options: Options, step: Step) -> Iterator[Compared]:
    """A path in a tree against a line."""
    database = options.folder / "branches.db"
    fill(database, Batch([LONG_PROJECT], [None], LINES, PATH_MESSAGES))
    store = use(database, "off")
    trees = {"one after another": one_after_another(), "in turn": in_turn()}
    step("trees")
    lines = [f"{CONVERSATIONS}/{id}" for id in ids(database, LONG_PROJECT)]
    gateway = Gateway()
    for layout, tree in trees.items():
        place = f"{CONVERSATIONS}/{tree.id}"
        for name, request in REQUESTS.items():
            path = [f"{place}{request}branch={leaf}" for leaf in tree.leaves]
            line = [f"{each}{request}".rstrip("?&") for each in lines]
            yield _compare(f"{name}, branches {layout}", gateway, path, line, options)
            step(f"{name}, {layout}")
        yield _compare(f"{ACTIVE}, branches {layout}", gateway, [place], lines, options)
        step(f"{ACTIVE}, {layout}")
    store.close_all()


def _compare(
    name: str, gateway: Gateway, paths: list[str], lines: list[str], options: Options
) -> Compared:
    calls = {"path": _get(gateway, paths), "line": _get(gateway, lines)}
    rounds = [in_turns(calls, options.scaled(CALLS)) for _ in range(options.rounds)]
    return Compared(name, [(each["path"], each["line"]) for each in rounds])


def _get(gateway: Gateway, paths: list[str]) -> Call:
    """A call that gets the next path with each time. All have as many messages."""
    for path in paths:
        if len(json.loads(gateway.send("GET", path))["messages"]) != PATH_MESSAGES:
            raise RuntimeError(f"{path} has another length.")
    turns = cycle(paths)
    return lambda: gateway.send("GET", next(turns))


def section(found: list[Compared]) -> Section:
    by_name = {each.name: each for each in found}
    paths = [each.ratio for each in found if each.name.startswith("path, ")]
    return Section(
        "Branches",
        f"Microseconds, except where bytes or seconds are named. First, a path of {PATH_MESSAGES} "
        f"messages through a tree of {TREE_MESSAGES:,} on {BRANCHES} branches against a line of "
        f"{PATH_MESSAGES}, in process. The branches were written one after another, or in turn, so "
        "that no message stands beside its parent. Then this code against that of commit "
        f"{unbranched.COMMIT}, which had no branches and no lists by activity: in process with "
        "synchronous=OFF, eight appends in each group, and over HTTP with synchronous=FULL on 8 "
        "connections. The earlier code has no tags. The last but one have a file of "
        f"{unbranched.LARGE_CONVERSATIONS:,} conversations with {unbranched.LARGE_MESSAGES} "
        "messages each, most of them of users. The last line is the migration of this file.",
        ["measure", "ours", "line or earlier code", "ratio"],
        [_row(each) for each in found],
        {"branches: largest ratio of a path": max(paths)}
        | {f"branches: {name}": each.ratio for name, each in by_name.items() if each.other}
        | {f"branches: {unbranched.MIGRATION}": by_name[unbranched.MIGRATION].ours},
    )


def _row(each: Compared) -> list[str]:
    if not each.other:
        return [each.name, f"{each.ours:.1f}", "–", "–"]
    return each.row()
