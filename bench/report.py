"""`results.md`: the goals, and each part's table and plots."""

import platform
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from .goals import Goal, judge
from .options import Section

PACKAGES = (
    "chalice", "peewee", "pydantic", "gunicorn", "fastapi", "starlette", "sqlalchemy", "uvicorn",
    "uvicorn-worker", "uvloop", "openai-agents", "langchain-community",
)  # fmt: skip


def write(
    path: Path, sections: Mapping[str, Section], plots: Mapping[str, list[str]], load: float
) -> None:
    """`plots` are files beside `path`, by section. `load` is the machine's before the run."""
    measured = measured_in(sections.values())
    parts = ["# Results", setting(load), *_goals(judge(measured))]
    for name, section in sections.items():
        parts += [f"## {section.title}", section.about, _table(section.header, section.rows)]
        parts += [f"![{Path(plot).stem}]({plot})" for plot in plots.get(name, [])]
    path.write_text("\n\n".join(parts) + "\n")


def measured_in(sections: Iterable[Section]) -> dict[str, float]:
    return {key: value for each in sections for key, value in each.measured.items()}


def goal_rows(judged: list[tuple[Goal, float]]) -> list[list[str]]:
    return [
        [
            goal.label,
            f"{goal.sign} {goal.bound:,g}",
            f"{value:,.2f}" if value < 1000 else f"{value:,.0f}",
            "reached" if goal.is_met_by(value) else f"missed by {_missed_by(goal, value):.0%}",
        ]
        for goal, value in judged
    ]


def setting(load: float) -> str:
    """The machine and the versions."""
    cpu = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {cores} × {cpu}; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}, {versions}. Each figure is a median of several rounds in which "
        f"the things compared took turns. Made by `make bench`, begun at a load of {load:.1f}."
    )


GOAL_HEADER = ["measure", "goal", "measured", ""]


def _goals(judged: list[tuple[Goal, float]]) -> list[str]:
    missed: dict[str, list[str]] = {}
    for goal, value in judged:
        if goal.why and not goal.is_met_by(value):
            missed.setdefault(goal.why, []).append(goal.label)
    reasons = [f"- {'; '.join(labels)}: {why}" for why, labels in missed.items()]
    why = ["Why some are missed:", "\n".join(reasons)] if reasons else []
    return ["## Goals", _table(GOAL_HEADER, goal_rows(judged)), *why]


def _missed_by(goal: Goal, value: float) -> float:
    return abs(value - goal.bound) / goal.bound


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
