"""Runs as `python -P worker.py` in a checkout, this one or an earlier one, and serves `earlier.py`.

All that it imports comes from that checkout. It reads lines of JSON, each a function's name and
arguments, and writes what the function returns.
"""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import cycle, repeat
from pathlib import Path
from statistics import mean, median
from time import perf_counter_ns

from bench.data import CONVERSATIONS, TEXTS, Batch, fill, ids, project, use
from bench.inprocess import Gateway
from db.engine.database import database
from db.engine.group_commit import Group
from db.models import Conversation

READ, PLAIN, OF_USER, TAGGED = map(project, range(1, 5))
APPENDED = {"plain": PLAIN, "of a user": OF_USER, "with two tags": TAGGED}
TAGS = {"tags": ["work", "important"]}
MESSAGE = json.dumps({"role": "user", "content": TEXTS[0]}).encode()
CONVERSATION = json.dumps({"project_id": project(5), "title": "Planning"}).encode()
GROUP_REQUESTS = 8

gateway = Gateway()
places: dict[str, Iterator[str]] = {}  # the paths that are asked for in turn
messages = cycle([MESSAGE])  # that are appended in turn


def make(path: str) -> dict[str, list[str]]:
    """A new database, with which the other functions work. The paths to append to, by kind.

    Without syncs of the disk, whose times would hide all others.
    """
    file = Path(path)
    users = {OF_USER: "user-1"}
    appended = [Batch([each], [users.get(each)], 200, 0) for each in APPENDED.values()]
    fill(file, Batch([READ], [None], 500, 20), *appended)
    use(file, "off")
    if hasattr(Conversation, "tags"):
        for id in ids(file, TAGGED):
            gateway.json("PATCH", f"{CONVERSATIONS}/{id}", TAGS)
    if find_spec("db.search_index"):  # it would follow while others are measured
        import_module("db.search_index").follow_all(lambda behind: None)
    paths = {
        kind: [f"{CONVERSATIONS}/{id}/messages" for id in ids(file, each)]
        for kind, each in APPENDED.items()
    }
    read = [f"{CONVERSATIONS}/{id}" for id in ids(file, READ)]
    pages = [f"{each}/messages?limit=20" for each in read]
    places.update({name: cycle(each) for name, each in paths.items()})
    places.update({"get": cycle(read), "page": cycle(pages), "create": cycle([CONVERSATIONS])})
    return paths


def make_large(path: str, conversations: int, messages: int) -> None:
    """A new database of one project."""
    users = [*(f"user-{number}" for number in range(90)), *[None] * 10]
    fill(Path(path), Batch([READ], users, conversations, messages))


def say(texts: list[str]) -> None:
    """Append these from now on."""
    global messages
    messages = cycle([json.dumps({"role": "user", "content": text}).encode() for text in texts])


def write(name: str, times: int) -> float:
    """The median microseconds of a create or an append, in groups as the server's loop has them."""
    return median(_write(name, times))


def write_all(name: str, times: int) -> float:
    """The mean of the same, which has in it what is done now and then."""
    return mean(_write(name, times))


def _write(name: str, times: int) -> list[float]:
    bodies = repeat(CONVERSATION) if name == "create" else messages
    taken = []
    for _ in range(times):
        started = perf_counter_ns()
        group = Group(database.obj)
        assert group.begin()
        for _ in range(GROUP_REQUESTS):
            group.run(lambda: gateway.send("POST", next(places[name]), next(bodies)))
        group.commit()
        taken.append((perf_counter_ns() - started) / 1000 / GROUP_REQUESTS)
    return taken


def read(name: str, times: int) -> float:
    """The median microseconds of a get."""
    taken = []
    for _ in range(times):
        started = perf_counter_ns()
        gateway.send("GET", next(places[name]))
        taken.append((perf_counter_ns() - started) / 1000)
    return median(taken)


if __name__ == "__main__":
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(globals()[name](*arguments)), flush=True)
