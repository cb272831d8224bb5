"""Search: among 10,000 messages and among 1,000,000, and as other apps do it, by LIKE.

A search goes through the whole application in process.
"""

import json
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from db import search_index
from db.engine.database import after_write, database
from db.engine.sqlite import SqliteStore

from .data import CONVERSATIONS, use
from .growth import warm
from .inprocess import Gateway
from .options import Options, Section, Step
from .search_files import Filed, copy, file_of
from .search_questions import (
    COMMON_WORDS,
    KINDS,
    LIKE_KINDS,
    RARE,
    Question,
    number_in,
    questions,
)
from .texts import is_chinese, text
from .timing import microseconds

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (1_000, 10_000)  # messages
SEARCHES, WARM_UP = 200, 10  # of a kind and size, in each round
LIKES = 10  # of a kind and size
BEHIND = (0, 50, 100, 200)  # messages that the index has not seen
MOST = 1_000_000  # of which texts one is appended


class Measure(NamedTuple):
    """What was measured in files of each size: p50 and p99 in milliseconds, or one value."""

    name: str
    values: dict[int, tuple[float, ...]]


def steps(options: Options) -> int:
    return 2 * len(sizes(options)) + len(KINDS) + len(LIKE_KINDS)


def sizes(options: Options) -> tuple[int, ...]:
    return QUICK_SIZES if options.quick else SIZES


def measure(options: Options, step: Step) -> list[Measure]:
    gateway, files, stores = Gateway(), {}, {}
    for size in sizes(options):
        files[size] = file_of(size, options.cache)
        stores[size] = use(files[size].path)
        warm(files[size].path)
        step(f"{size:,} messages")
    found = []
    for kind in KINDS:
        found.append(_in_turns(kind, stores, gateway, options))
        step(kind)
    for store in stores.values():
        store.close_all()
    for kind in LIKE_KINDS:
        found.append(_by_like(kind, files, options))
        step(f"LIKE, {kind}")
    soon: dict[str, dict[int, tuple[float, ...]]] = {}
    for size, file in files.items():
        for name, times in _soon(file, size, gateway, options):
            soon.setdefault(name, {})[size] = times
        step(f"what is new, {size:,} messages")
    return [*found, *(Measure(*each) for each in soon.items()), *_of_files(files)]


def _in_turns(
    kind: str, stores: dict[int, SqliteStore], gateway: Gateway, options: Options
) -> Measure:
    """Time searches of a kind, in files of all sizes in turns."""
    asked = {size: _some(kind, size) for size in stores}
    rounds: dict[int, list[list[float]]] = {size: [] for size in stores}
    for _ in range(options.rounds):
        for size, store in stores.items():
            database.initialize(store)
            rounds[size].append(_times(gateway, asked[size]))
    return Measure(kind, {size: _percentiles(each) for size, each in rounds.items()})


def _some(kind: str, size: int) -> list[Question]:
    """Always the same ones."""
    return [*islice(questions(kind, size, random.Random(f"{kind} {size}")), SEARCHES)]


def _times(gateway: Gateway, asked: list[Question]) -> list[float]:
    """The milliseconds of each search. Nobody has asked for these words before."""
    re.purge()
    microseconds(partial(asked[-1].send, gateway), WARM_UP)  # statements are prepared anew
    return [microseconds(partial(each.send, gateway), 1)[0] / 1000 for each in asked]


def _percentiles(rounds: list[list[float]]) -> tuple[float, float]:
    """The p50 and the p99 of questions. What one takes is the median of the rounds.

    So it is the p99 of what is asked, and not of what else the machine does.
    """
    times = [*map(median, zip(*rounds, strict=True))]
    return median(times), quantiles(times, n=100)[98]


def _by_like(kind: str, files: dict[int, Filed], options: Options) -> Measure:
    """The same words by LIKE, on a connection with a page cache as large as ours."""
    values: dict[int, tuple[float, ...]] = {}
    for size, file in files.items():
        asked = questions(kind, size, random.Random(f"{kind} {size}"))
        with closing(sqlite3.connect(file.path)) as connection:
            connection.execute(f"PRAGMA cache_size = {SqliteStore.PRAGMAS['cache_size']}")
            search = partial(_like, connection, asked)
            microseconds(search, 1)
            values[size] = (median(microseconds(search, options.scaled(LIKES))) / 1000,)
    return Measure(f"{kind}, by LIKE", values)


def _like(connection: sqlite3.Connection, asked: Iterator[Question]) -> None:
    connection.execute(*next(asked).like).fetchall()


def _soon(
    file: Filed, size: int, gateway: Gateway, options: Options
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Searches while there is something that the index has not seen."""
    path = copy(file.path, options.folder / f"soon-{size}.db")
    store = use(path, "off")
    chance = random.Random(size)
    appended = _appends(path, gateway, chance)
    with _nobody_indexes():
        behind = 0
        for messages in BEHIND:
            for _ in range(messages - behind):
                next(appended)
            behind = messages
            rounds = [_times(gateway, _some(RARE, size)) for _ in range(options.rounds)]
            yield f"{RARE}, {messages} messages behind", _percentiles(rounds)
    search_index.follow_all(lambda behind: None)
    rounds = [[_after_append(appended, gateway) for _ in range(SEARCHES)]]
    yield "two words, right after the append", _percentiles(rounds)
    store.close_all()


def _after_append(appended: Iterator[str], gateway: Gateway) -> float:
    """The milliseconds of a search for what was appended just before."""
    question = Question(" ".join(next(appended).split()[:2]))
    answer: list[str] = []
    (taken,) = microseconds(lambda: answer.append(question.send(gateway)), 1)
    if not json.loads(answer[0])["results"]:
        raise RuntimeError(f"{question} finds nothing.")
    return taken / 1000


def _appends(path: Path, gateway: Gateway, chance: random.Random) -> Iterator[str]:
    """Append one message with each step, to a conversation from anywhere. Its text."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT id FROM conversation ORDER BY random() LIMIT 1000"
        ids = [id for (id,) in connection.execute(query)]
    while True:
        said = text(number_in(chance, MOST, lambda number: not is_chinese(number)))
        path_of = f"{CONVERSATIONS}/{chance.choice(ids)}/messages"
        gateway.json("POST", path_of, {"role": "user", "content": said})
        yield said


@contextmanager
def _nobody_indexes() -> Iterator[None]:
    """What is appended stays behind. (Else it waits for 100 writes, or a second.)"""
    chore = search_index.follow_if_due
    after_write.remove(chore)
    try:
        yield
    finally:
        after_write.append(chore)


def _of_files(files: dict[int, Filed]) -> Iterator[Measure]:
    def of_each(value: Callable[[Filed], float]) -> dict[int, tuple[float, ...]]:
        return {size: (value(file) / size,) for size, file in files.items()}

    yield Measure("bytes a message, without the index", of_each(lambda file: file.plain_bytes))
    yield Measure("bytes a message, with the index", of_each(lambda file: file.bytes))
    yield Measure(
        "microseconds a message, to build the index", of_each(lambda file: file.seconds * 1e6)
    )


def section(found: list[Measure]) -> Section:
    by_name = {each.name: each.values for each in found}
    first, *_, last = every = list(found[0].values)
    growth = {name: by_name[name][last][0] / by_name[name][first][0] for name in by_name}
    return Section(
        "Search",
        f"Milliseconds of a search in process: p50 / p99 of {SEARCHES} searches with different "
        "words, in files of so many messages. What one takes is the median of the rounds. The "
        "texts are made of 50,000 made-up words, whose shares are those of Zipf's law. Half of "
        "them have 30 words or more, and every tenth is of Chinese characters. A rare word is in "
        f"about ten messages, and a common one is one of the {COMMON_WORDS} most common. One user "
        "of many has 10 conversations. Then the median of the same by LIKE; searches while the "
        "index is behind, and for what was appended just before; and the files.",
        ["search", *(f"{size:,}" for size in every), f"{last:,} to {first:,}"],
        [
            [
                each.name,
                *(" / ".join(map(_figure, each.values[size])) for size in every),
                f"**{growth[each.name]:.2f}**",
            ]
            for each in found
        ],
        {f"search: {kind}, p99": by_name[kind][last][1] for kind in KINDS}
        | {f"search: {kind}, growth": growth[kind] for kind in KINDS},
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
