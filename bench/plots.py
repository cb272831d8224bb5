"""The plots: throughput, latency and growth, as PNGs."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.ticker import StrMethodFormatter

from .growth import Growth
from .peers import TWINS, Comparison

mpl.use("Agg")
pyplot.rcParams.update(
    {
        "figure.figsize": (9, 4.5),
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e6e6e6",
        "legend.frameon": False,
    }
)
OURS, THEIRS = "#2364aa", ("#f2a65a", "#c8b8a6")
LOAD = "8 connections"


def throughput(found: list[Comparison], path: Path) -> None:
    """Requests a second of each operation, over ours and both ways of the twin."""
    shown = [each for each in found if each.load == LOAD]
    figure, axes = pyplot.subplots()
    names = {"ours": OURS, **dict(zip(TWINS, THEIRS, strict=True))}
    for index, (name, colour) in enumerate(names.items()):
        places = [at + (index - 1) * 0.27 for at in range(len(shown))]
        rates = [each.typical(name) for each in shown]
        label = "ours" if name == "ours" else f"FastAPI, {name}"
        bars = axes.bar(places, rates, 0.25, color=colour, label=label)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], fontsize=7, padding=2)
    _finish(axes, shown, f"Requests a second, {LOAD}")
    _save(figure, path)


def latency(found: list[Comparison], path: Path) -> None:
    """From the median to the 99th percentile, ours beside the faster twin."""
    shown = [each for each in found if each.load == LOAD]
    figure, axes = pyplot.subplots()
    for at, each in enumerate(shown):
        for name, colour, shift in (("ours", OURS, -0.12), (each.twin, THEIRS[0], 0.12)):
            ends = [each.typical(name, field) for field in ("p50", "p99")]
            label = None if at else "ours" if name == "ours" else "FastAPI, the faster way"
            axes.plot([at + shift] * 2, ends, color=colour, linewidth=5, alpha=0.35)
            axes.plot(at + shift, ends[0], "o", color=colour, markersize=7, label=label)
            axes.plot(at + shift, ends[1], "_", color=colour, markersize=12, markeredgewidth=2)
    _finish(axes, shown, f"Milliseconds, median (dot) to 99th percentile (bar), {LOAD}")
    _save(figure, path)


def growth(found: list[Growth], path: Path) -> None:
    """Each operation's time relative to that on the smallest file."""
    figure, axes = pyplot.subplots()
    colours = pyplot.colormaps["tab20"](range(len(found)))
    for each, colour in zip(found, colours, strict=True):
        first = each.typical(each.sizes[0])
        times = [each.typical(size) / first for size in each.sizes]
        axes.plot(each.sizes, times, "o-", color=colour, markersize=4, label=each.operation)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g} ×"))
    axes.yaxis.set_minor_formatter(StrMethodFormatter(""))
    axes.set_xticks(found[0].sizes, [f"{size:,}" for size in found[0].sizes])
    axes.set_title("Time of a request as conversations grow, relative to the smallest", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def _finish(axes: pyplot.Axes, shown: list[Comparison], title: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_xticks(range(len(shown)), [each.operation for each in shown])
    axes.set_title(title, loc="left")
    axes.legend()


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
