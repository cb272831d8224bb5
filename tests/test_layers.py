"""Tests that the imports of every file point down the layers."""

import ast
import re
import shutil
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from .support.processes import ROOT

# From top to bottom. A module belongs to the longest entry that names it or one of its packages.
LAYERS = [
    ["deploy", "bench", "tests"],
    ["app"],
    ["server"],
    ["handlers"],
    ["handlers.llm", "handlers.http"],
    ["handlers.tracing"],
    ["db.manage"],
    ["db.__main__"],
    ["db.transfer_commands", "db.key_commands"],
    ["db.command_line"],
    ["db.startup"],
    ["db.upkeep", "db.transfer"],
    ["db"],
    ["db.messages"],
    ["db.branches", "db.client_ids"],
    ["db.streams"],
    ["db.conversations"],
    ["db.event_log", "db.search_index", "db.tags", "db.tombstones"],
    ["db.change_numbers"],
    ["db.models"],
    ["db.engine"],
    [
        *("db.settings", "db.errors", "db.clock", "db.scope", "db.counters"),
        *("db.excerpts", "db.token_estimate"),
    ],
    ["db.terms"],
]
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
DRIVERS = {"peewee", "playhouse", "sqlite3", "psycopg"}
COLD_START = re.compile(r"# Cold start: \d+ ms")


def layer(module: str) -> str:
    """Return the name in LAYERS that the module belongs to, or "" if it is not ours."""
    parts = module.split(".")
    names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((name for name in names if name in RANKS), "")


def imports(file: Path, root: Path) -> Iterator[tuple[str, bool, int]]:
    """Yield each module that `file` imports, whether that is in a function, and the line."""
    tree = ast.parse(file.read_text())
    package = file.relative_to(root).with_suffix("").parts[:-1]
    late = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            # The imported name may be a module.
            names = [
                f"{module}.{alias.name}" if is_module(root, module, alias.name) else module
                for alias in node.names
            ]
        else:
            continue
        yield from ((name, id(node) in late, node.lineno) for name in names)


def is_module(root: Path, package: str, name: str) -> bool:
    place = root.joinpath(*package.split("."), name)
    return place.is_dir() or place.with_suffix(".py").exists()


def violations(root: Path) -> Iterator[str]:
    graph: dict[str, set[str]] = {}
    tops = ["app.py", "server", "handlers", "db", "deploy"]
    files = [
        f for top in tops for f in ([root / top] if "." in top else (root / top).rglob("*.py"))
    ]
    for file in files:
        module = ".".join(file.relative_to(root).with_suffix("").parts)
        lines = file.read_text().splitlines()
        for imported, is_late, line in imports(file, root):
            where = f"{module}:{line} imports {imported}"
            if module.startswith(("handlers", "server")) and imported.split(".")[0] in DRIVERS:
                yield f"{where}, a driver"
            if module.startswith("handlers.llm") and imported.startswith("chalice"):
                yield f"{where}: a model is asked without Chalice"
            if is_late and not any(map(COLD_START.search, lines[max(0, line - 3) : line])):
                yield f"{where} in a function, without the milliseconds of a cold start"
            ours, theirs = layer(module), layer(imported)
            if theirs and RANKS[theirs] < RANKS[ours]:
                yield f"{where}, which is above it"
            if theirs and theirs != ours and RANKS[theirs] == RANKS[ours] > 0:
                yield f"{where}, which is beside it"
            if theirs and imported != module:
                graph.setdefault(module, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle: {error.args[1]}"


def test_no_import_breaks_a_rule():
    assert list(violations(ROOT)) == []


PLANTED = [
    ("db/models.py", "from . import conversations"),
    ("db/event_log.py", "from . import streams"),
    ("db/streams.py", "from . import messages"),
    ("db/conversations.py", "from handlers import chat"),
    ("db/clock.py", "from .engine import database"),
    ("db/clock.py", "from . import settings"),
    ("db/token_estimate.py", "from . import models"),
    ("db/engine/sqlite.py", "from ..models import Message"),
    ("handlers/http/logs.py", "from .. import chat"),
    ("handlers/http/logs.py", "from ..llm import echo"),
    ("handlers/llm/turns.py", "from ..http import problems"),
    ("handlers/tracing/switch.py", "from ..http import logs"),
    ("db/upkeep/copying.py", "from ..transfer import tree"),
    ("db/messages.py", "from .transfer import tree"),
    ("handlers/llm/turns.py", "import chalice.app"),
    ("handlers/chat.py", "from server import gateway"),
    ("handlers/chat.py", "import app"),
    ("server/gateway.py", "from deploy import lean"),
    ("server/local.py", "import sqlite3"),
    ("handlers/chat.py", "from peewee import OperationalError"),
    ("handlers/chat.py", "import psycopg"),
    ("handlers/http/caller.py", "from . import endpoint"),  # an import cycle
    ("db/events.py", "def late() -> None:\n    from . import clock"),
    ("db/events.py", "def late() -> None:\n    # It is shorter.\n    import secrets"),
]


@pytest.mark.parametrize(("file", "planted"), PLANTED)
def test_a_planted_import_is_found(tmp_path: Path, file: str, planted: str):
    for name in ("server", "handlers", "db", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "app.py", tmp_path)
    with (tmp_path / file).open("a") as module:
        module.write(f"\n\n{planted}\n")
    found = list(violations(tmp_path))
    assert found
