"""Cold start of ours and the twin: import, first answer in AWS's runtime client, memory, size."""

import compileall
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from py_compile import PycInvalidationMode
from statistics import median
from typing import Any, NamedTuple

from tests.support.api_gateway import Operation, proxy_event
from tests.support.lambda_runtime import Instance
from tests.support.packages import make_package

from .data import CONVERSATIONS, CREATE_PROJECT, fill_usual
from .options import Options, Section, Step
from .twin.data import copy

TWIN_FOLDER = Path(__file__).parent / "twin"
IMPORT_SCRIPT = "from time import perf_counter as t; s = t(); import {0}; print(t() - s)"


class Target(NamedTuple):
    """What Lambda could run. `task` is the folder of the unpacked zip."""

    name: str
    zip: Path
    task: Path
    module: str
    handler: str
    environment: dict[str, str]


class Start(NamedTuple):
    imported: float  # seconds, of modules that are compiled
    answered: float  # seconds from the process's start to its first answer, a created conversation
    peak: float  # MB, then


class Cold(NamedTuple):
    """A target's zip in MB, and its starts, one a round."""

    name: str
    megabytes: float
    starts: list[Start]

    def typical(self, field: str) -> float:
        return median(getattr(start, field) for start in self.starts)


def steps(options: Options) -> int:
    return 1 + options.rounds


def measure(options: Options, step: Step) -> list[Cold]:
    targets = [_ours(options.folder), _twin(options.folder)]
    step("packages")
    starts: dict[str, list[Start]] = {target.name: [] for target in targets}
    for number in range(options.rounds):
        for target in targets:
            starts[target.name].append(start(target))
        step(f"start {number + 1}")
    return [Cold(t.name, t.zip.stat().st_size / 1e6, starts[t.name]) for t in targets]


def _ours(folder: Path) -> Target:
    package = make_package("prod", folder / "package")
    database = fill_usual(folder / "cold.db")
    environment = {"DATABASE_URL": f"sqlite:///{database}", "REQUIRE_API_KEY": "false"}
    return Target("ours", package.zip, package.task, "app", "app.app", environment)


def _twin(folder: Path) -> Target:
    """FastAPI, SQLAlchemy and Mangum, compiled as ours is. The zip is made before that."""
    task = folder / "twin"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = ["--no-compile", "--target", str(task), "-r", str(TWIN_FOLDER / "requirements.txt")]
    subprocess.run([*pip, *wanted], check=True, capture_output=True)
    shutil.rmtree(task / "bin")
    shutil.copytree(
        TWIN_FOLDER, task / "bench" / "twin", ignore=shutil.ignore_patterns("__pycache__")
    )
    zip = Path(shutil.make_archive(str(folder / "twin"), "zip", task))
    compileall.compile_dir(task, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    copy(folder / "cold.db", folder / "cold-twin.db")
    environment = {"TWIN_DATABASE": str(folder / "cold-twin.db"), "TWIN_WAY": "loop"}
    module = "bench.twin.on_lambda"
    return Target("twin", zip, task, module, f"{module}.handler", environment)


def start(target: Target) -> Start:
    with Instance(target.task, target.handler, target.environment) as instance:
        answer = instance.invoke(_create())
        if answer["statusCode"] != 201:
            raise RuntimeError(f"{target.name} answered {answer}")
        assert instance.cold_start
        imported = median(_import(target) for _ in range(3))
        return Start(imported, instance.cold_start, _peak(instance.pid))


def _import(target: Target) -> float:
    """The seconds of an import, when all modules have been compiled."""
    caches = {"PYTHONPATH": str(target.task), "PYTHONPYCACHEPREFIX": f"{target.task}.cache"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT_SCRIPT.format(target.module)],
        cwd=target.task,
        env={**target.environment, **caches},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def _create() -> Mapping[str, Any]:
    conversation = {"project_id": CREATE_PROJECT, "title": "Architecture planning session"}
    body = json.dumps(conversation).encode()
    headers = {"Content-Type": "application/json"}
    operation = Operation(CONVERSATIONS, "POST", {})
    return proxy_event(operation, "prod", CONVERSATIONS, "", headers, body)


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024 / 1e6


def section(found: list[Cold]) -> Section:
    ours, twin = found

    def row(label: str, format: str, field: str, scale: float) -> list[str]:
        values = [each.typical(field) for each in found]
        shown = (f"{value * scale:{format}}" for value in values)
        return [label, *shown, f"**{values[0] / values[1]:.2f}**"]

    return Section(
        "Cold start",
        "The zip of `make package`, and the twin with Mangum. Both run in `awslambdaric`, AWS's "
        "runtime client, and their dependencies are compiled. The first answer is a created "
        "conversation in a database that exists. The twin's zip has no bytecode.",
        ["measure", "ours", "twin", "ratio"],
        [
            row("import, ms", ",.0f", "imported", 1000),
            row("start to first answer, ms", ",.0f", "answered", 1000),
            row("peak memory, MB", ".1f", "peak", 1),
            [
                "zip, MB",
                *(f"{each.megabytes:.2f}" for each in found),
                f"**{ours.megabytes / twin.megabytes:.2f}**",
            ],
        ],
        {
            "cold: import": ours.typical("imported") / twin.typical("imported"),
            "cold: first answer": ours.typical("answered") / twin.typical("answered"),
        },
    )
