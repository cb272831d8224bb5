"""Measure all, print tables, and write `results.md` with its plots: `python -m bench --help`."""

import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import (
    alternatives,
    branches,
    callers,
    cold,
    commits,
    feed,
    followers,
    growth,
    layers,
    limit,
    live,
    memory,
    pages,
    peers,
    plots,
    production,
    report,
    search,
    side_bar,
    streams,
    transfer,
    unsearched,
)
from .goals import judge
from .options import Options, Section

HERE = Path(__file__).parent
PARTS: dict[str, ModuleType] = {
    "peers": peers,
    "production": production,
    "commits": commits,
    "followers": followers,
    "feed": feed,
    "live": live,
    "alternatives": alternatives,
    "limit": limit,
    "layers": layers,
    "growth": growth,
    "side_bar": side_bar,
    "branches": branches,
    "search": search,
    "unsearched": unsearched,
    "transfer": transfer,
    "callers": callers,
    "cold": cold,
    "pages": pages,
    "streams": streams,
    "memory": memory,
}
SIZES, QUICK_SIZES = "1000,10000,100000,1000000", "1000,10000"


@click.command()
@click.option(
    "--quick", is_flag=True, help="A few minutes, for a first impression. Writes no results."
)
@click.option("--only", metavar="PARTS", help=f"Some of {','.join(PARTS)}. Writes no results.")
@click.option("--sizes", help=f"Conversations for growth and side bars; default {SIZES}.")
def main(quick: bool, only: str | None, sizes: str | None) -> None:
    """Measure against a FastAPI twin, alternatives and raw SQLite, and as the data grows."""
    console, load = Console(width=140), os.getloadavg()[0]
    if shutil.which("wrk") is None:
        raise click.UsageError("wrk is missing. Install it: apt-get install wrk")
    chosen = only.split(",") if only else list(PARTS)
    cache = Path(tempfile.gettempdir()) / "confab-bench"
    cache.mkdir(exist_ok=True)
    numbers = tuple(map(int, (sizes or (QUICK_SIZES if quick else SIZES)).split(",")))
    with tempfile.TemporaryDirectory(prefix="confab-bench-") as folder:
        found = measure(chosen, Options(Path(folder), cache, quick, numbers), console)
    sections = {name: PARTS[name].section(results) for name, results in found.items()}
    show(console, goals(sections))
    if not (quick or only):
        console.print(f"Written: {write(found, sections, load)}")


def measure(chosen: list[str], options: Options, console: Console) -> dict[str, list]:
    """What each part found. It is shown as soon as it is there."""
    bar = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    found = {}
    with Progress(*bar, console=console) as progress:
        task = progress.add_task("", total=sum(PARTS[name].steps(options) for name in chosen))
        for name in chosen:
            progress.update(task, description=name)

            def step(done: str, name: str = name) -> None:
                progress.update(task, advance=1, description=f"{name}: {done}")

            os.environ.pop("DATABASE_URL", None)
            part = options._replace(folder=options.folder / name)
            part.folder.mkdir()
            found[name] = PARTS[name].measure(part, step)
            show(console, PARTS[name].section(found[name]))
    return found


def goals(sections: dict[str, Section]) -> Section:
    judged = judge(report.measured_in(sections.values()))
    return Section("Goals", "", report.GOAL_HEADER, report.goal_rows(judged), {})


def show(console: Console, section: Section) -> None:
    table = Table(title=section.title, title_justify="left", title_style="bold")
    for index, name in enumerate(section.header):
        table.add_column(name, justify="right" if index else "left")
    for row in section.rows:
        table.add_row(*(cell.strip("*") for cell in row))
    console.print(table)


def write(found: dict[str, list], sections: dict[str, Section], load: float) -> Path:
    plots.throughput(found["peers"], HERE / "throughput.png")
    plots.latency(found["peers"], HERE / "latency.png")
    plots.growth(found["growth"], HERE / "growth.png")
    results = HERE / "results.md"
    drawn = {"peers": ["throughput.png", "latency.png"], "growth": ["growth.png"]}
    report.write(results, sections, drawn, load)
    return results


if __name__ == "__main__":
    main()
