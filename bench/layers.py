"""Where a request's time goes: the profile of each operation in process, by layer."""

import cProfile
import pstats
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .data import fill_usual, use
from .inprocess import Gateway
from .limit import Case, cases
from .options import Options, Section, Step
from .raw import Raw

# A function belongs to the first layer whose words are in its path or, if it is written in C, in
# its name.
LAYERS = {
    "SQLite": ("sqlite3.",),
    "Pydantic": ("pydantic",),
    "Peewee": ("peewee", "playhouse"),
    "Chalice": ("/chalice/",),
    "log": ("/logging/", "/handlers/http/logs.py"),
    "handlers": ("/handlers/",),
    "db": ("/db/",),
    "bench": ("/bench/",),
}
OTHER = "Python"
Function = tuple[str, int, str]  # as pstats has it: file, line, name


class Profile(NamedTuple):
    operation: str
    shares: dict[str, float]  # of the profiled time, by layer


def steps(options: Options) -> int:
    return 6


def measure(options: Options, step: Step) -> list[Profile]:
    database = fill_usual(options.folder / "layers.db")
    use(database, "off")
    found = []
    for case in cases(database, Gateway(), Raw(database, "off")):
        found.append(Profile(case.name, _shares(case, options.scaled(case.times))))
        step(case.name)
    return found


def _shares(case: Case, times: int) -> dict[str, float]:
    profiler = cProfile.Profile()
    case.ours()
    profiler.enable()
    for _ in range(times):
        case.ours()
    profiler.disable()
    spent: Counter[str] = Counter()
    for function, (_, _, own, _, callers) in pstats.Stats(profiler).stats.items():
        layer = _layer(function)
        if layer is not None:
            spent[layer] += own
        else:  # time in C belongs to the layer that called it
            for caller, (_, _, of_caller, _) in callers.items():
                spent[_layer(caller) or OTHER] += of_caller
    del spent["bench"]
    return {layer: time / spent.total() for layer, time in spent.items()}


def _layer(function: Function) -> str | None:
    path, _, name = function
    in_c = path == "~"
    where = name if in_c else Path(path).as_posix()
    for layer, words in LAYERS.items():
        if any(word in where for word in words):
            return layer
    return None if in_c else OTHER


def section(found: list[Profile]) -> Section:
    layers = [layer for layer in [*LAYERS, OTHER] if layer != "bench"]
    return Section(
        "Profile: where a request's time goes",
        "Shares of the time, measured by cProfile with synchronous=OFF. cProfile makes Python's "
        "calls look a little larger than they are. What a layer calls in C counts as its own.",
        ["operation", *layers],
        [
            [each.operation, *(f"{each.shares.get(layer, 0):.0%}" for layer in layers)]
            for each in found
        ],
        {},
    )
