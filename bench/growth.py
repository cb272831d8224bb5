"""Growth: the same requests on 1,000 conversations and on 1,000,000, with ten messages each."""

import json
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple

from db.engine.database import database
from db.engine.sqlite import SqliteStore

from .data import CONVERSATIONS, TEXTS, use
from .growth_files import CREATED_PROJECT, LARGE_PROJECT, file_of, kept_ids
from .inprocess import Gateway
from .options import Options, Section, Step
from .timing import Call, microseconds

DEPTH_ROWS = 100_000
PROJECT_PATH = f"/projects/{LARGE_PROJECT}/conversations"
PROJECTS_LIST = f"{PROJECT_PATH}?limit=20"
API_V1_LIST = f"{CONVERSATIONS}?project_id={LARGE_PROJECT}&limit=20"

# The names of operations that goals and the plot use.
API_V1_PAGE, API_V1_SKIP = "/api/v1 list, 20 newest", "/api/v1 list, deep skip"
PROJECTS_PAGE, PROJECTS_CURSOR = "/projects list, 20 newest", "/projects list, deep cursor"
GET, APPEND = "get, 10 messages", "append"


class Growth(NamedTuple):
    """Median microseconds of an operation by number of conversations, one dictionary a round."""

    operation: str
    rounds: list[dict[int, float]]

    def typical(self, size: int) -> float:
        return median(each[size] for each in self.rounds)

    @property
    def sizes(self) -> list[int]:
        return list(self.rounds[0])

    @property
    def ratio(self) -> float:
        """The largest against the smallest."""
        return median(each[self.sizes[-1]] / each[self.sizes[0]] for each in self.rounds)


def operations(path: Path, gateway: Gateway) -> dict[str, Call]:
    """Those of one conversation take another one with each call, from all over the file."""
    every = kept_ids(path)
    depth = depth_in(len(every))
    older = every[: len(every) // 2]  # so that the newest, which are listed, stay as they are
    read, to_append = _shuffled(every), _shuffled(older)
    to_archive = _toggles(older)
    conversation = json.dumps({"project_id": CREATED_PROJECT, "title": "Planning"}).encode()
    message = json.dumps({"role": "user", "content": TEXTS[0]}).encode()
    send = gateway.send
    return {
        API_V1_PAGE: lambda: send("GET", API_V1_LIST),
        "/api/v1 list, 20 newest of all": lambda: send("GET", f"{CONVERSATIONS}?limit=20"),
        API_V1_SKIP: lambda: send("GET", f"{API_V1_LIST}&skip={depth}"),
        PROJECTS_PAGE: lambda: send("GET", PROJECTS_LIST),
        PROJECTS_CURSOR: lambda: send("GET", f"{PROJECTS_LIST}&after={every[-depth]}"),
        "/projects list, 5 newest of a user": lambda: send(
            "GET", f"{PROJECT_PATH}?limit=5", **{"X-User-Id": "user-0"}
        ),
        "/projects list, 20 archived long ago": lambda: send(
            "GET", f"{PROJECTS_LIST}&is_archived=true"
        ),
        GET: lambda: send("GET", f"{CONVERSATIONS}/{next(read)}"),
        "create": lambda: send("POST", CONVERSATIONS, conversation),
        APPEND: lambda: send("POST", f"{CONVERSATIONS}/{next(to_append)}/messages", message),
        "archive": lambda: send(
            "POST", "{}/{}/archive?is_archived={}".format(PROJECT_PATH, *next(to_archive))
        ),
    }


def depth_in(size: int) -> int:
    return min(DEPTH_ROWS, size // 2)


def _shuffled(ids: list[str]) -> Iterator[str]:
    return cycle(random.sample(ids, len(ids)))


def _toggles(ids: list[str]) -> Iterator[tuple[str, str]]:
    """Restore all of them, one after the other, then archive all, and so on."""
    return cycle((id, flag) for flag in ("false", "true") for id in random.sample(ids, len(ids)))


def steps(options: Options) -> int:
    return len(options.sizes) + 11


def measure(options: Options, step: Step) -> list[Growth]:
    gateway = Gateway()
    stores, calls = {}, {}
    for size in options.sizes:
        path = file_of(size, options.cache)
        stores[size] = use(path)
        calls[size] = operations(path, gateway)
        step(f"{size:,} conversations")
    found = []
    for name in calls[options.sizes[0]]:
        for store in stores.values():
            warm(Path(store.place))
        found.append(in_turns(name, stores, calls, options))
        step(name)
    for store in stores.values():
        store.close_all()
    return found


def in_turns(
    name: str,
    stores: dict[int, SqliteStore],
    calls: dict[int, dict[str, Call]],
    options: Options,
) -> Growth:
    """Time one of the calls, in files of all sizes in turns."""
    rounds: list[dict[int, float]] = []
    for _ in range(2 * options.rounds):
        rounds.append({})
        for size, store in stores.items():
            database.initialize(store)
            microseconds(calls[size][name], 5)  # statements are prepared anew
            taken = microseconds(calls[size][name], options.scaled(50))
            rounds[-1][size] = median(taken)
    return Growth(name, rounds)


def warm(path: Path) -> None:
    """Read the file into the operating system's cache, which drops what is long unused."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def section(found: list[Growth]) -> Section:
    sizes = found[0].sizes
    first, last = sizes[0], sizes[-1]
    by_name = {each.operation: each for each in found}
    depth = depth_in(last // 2)

    def at_last(name: str, to: str) -> float:
        pairs = zip(by_name[name].rounds, by_name[to].rounds, strict=True)
        return median(one[last] / other[last] for one, other in pairs)

    return Section(
        "Growth",
        "Median microseconds in process with synchronous=FULL. Each conversation has 10 messages, "
        "interleaved with those of others. There are 100 users. One project has half of all "
        "conversations, and 1,000 others share the rest. The older half is archived. The deep "
        f"cursor and the deep skip are {depth:,} rows from the newest in the largest file. In "
        "smaller files they are in the middle of the project if that is nearer.",
        ["operation", *(f"{size:,}" for size in sizes), f"{last:,} to {first:,}"],
        [
            [
                each.operation,
                *(f"{each.typical(size):,.0f}" for size in sizes),
                f"**{each.ratio:.2f}**",
            ]
            for each in found
        ],
        {f"growth: {each.operation}": each.ratio for each in found}
        | {
            "growth: deep cursor against first page": at_last(PROJECTS_CURSOR, PROJECTS_PAGE),
            "growth: skip against first page": at_last(API_V1_SKIP, API_V1_PAGE),
        },
    )
