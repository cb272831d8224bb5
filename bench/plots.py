"""The plots: throughput, latency and growth, as PNGs."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from .growth import APPEND, GET, Growth
from .peers import TWINS, Comparison

mpl.use("Agg")
pyplot.rcParams.update(
    {
        "figure.figsize": (9, 3.6),
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
GREY, SLOWEST = "#b9bec4", "#c4621d"
COLOURS = {GET: OURS, APPEND: "#3a8f5c"}
LOAD = "8 connections"


def throughput(found: list[Comparison], path: Path) -> None:
    """Requests a second of each operation, over ours and both ways of the twin."""
    shown = [each for each in found if each.load == LOAD]
    figure, panels = pyplot.subplots(1, len(shown))
    figure.suptitle(f"Requests a second, {LOAD}", x=0.01, ha="left")
    labels = ("ours", *(f"FastAPI,\n{way}" for way in TWINS))
    for each, axes in zip(shown, panels, strict=True):
        rates = [each.typical(name) for name in ("ours", *TWINS)]
        bars = axes.bar(labels, rates, color=(OURS, *THEIRS))
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=2)
        _label(axes, each)
    _save(figure, path)


def latency(found: list[Comparison], path: Path) -> None:
    """The median and the 99th percentile, ours beside the faster twin."""
    shown = [each for each in found if each.load == LOAD]
    figure, panels = pyplot.subplots(1, len(shown))
    figure.suptitle(
        f"Milliseconds until the answer, median (full) and 99th percentile (light), {LOAD}",
        x=0.01,
        ha="left",
    )
    for each, axes in zip(shown, panels, strict=True):
        for label, name, colour in (("ours", "ours", OURS), ("FastAPI", each.twin, THEIRS[0])):
            p50, p99 = (each.typical(name, field) for field in ("p50", "p99"))
            axes.bar_label(axes.bar(label, p99, color=colour, alpha=0.3), [f"{p99:,.0f}"])
            axes.bar_label(axes.bar(label, p50, color=colour), [f"{p50:,.1f}"], padding=1)
        _label(axes, each)
    _save(figure, path)


def growth(found: list[Growth], path: Path) -> None:
    """Each operation's time relative to that on the smallest file, named at the ends."""
    figure, axes = pyplot.subplots()
    ends = {
        each.operation: each.typical(each.sizes[-1]) / each.typical(each.sizes[0]) for each in found
    }
    slowest = max(ends, key=ends.__getitem__)
    for each in found:
        colour = COLOURS.get(each.operation, SLOWEST if each.operation == slowest else GREY)
        start = each.typical(each.sizes[0])
        times = [each.typical(size) / start for size in each.sizes]
        is_named = colour != GREY
        axes.plot(each.sizes, times, color=colour, linewidth=2 if is_named else 1, zorder=is_named)
        if is_named:
            label = f"{each.operation}, {times[-1]:.2f} ×"
            offset = {GET: (6, 7), APPEND: (6, -9)}.get(each.operation, (6, -1))
            axes.annotate(
                label, (each.sizes[-1], times[-1]), offset, textcoords="offset points", color=colour
            )
    others = [value for name, value in ends.items() if name not in COLOURS and name != slowest]
    axes.set_xscale("log")
    axes.set_yscale("log")
    top = max(2.0, 1.3 * max(ends.values()))
    axes.set_ylim(min(0.5, 0.8 * min(ends.values())), top)
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if tick <= top]
    axes.set_yticks(ticks, [f"{tick:g} ×" for tick in ticks])
    axes.minorticks_off()
    axes.set_xticks(found[0].sizes, [f"{size:,}" for size in found[0].sizes])
    axes.set_xlim(found[0].sizes[0], found[0].sizes[-1] * 12)
    axes.set_xlabel("conversations")
    axes.set_title(
        "Time of a request as conversations grow, relative to the smallest file. "
        f"Grey: {len(others)} others, {min(others):.2f} to {max(others):.2f} ×",
        loc="left",
        fontsize=9,
    )
    _save(figure, path)


def _label(axes: pyplot.Axes, shown: Comparison) -> None:
    axes.set_title(shown.operation.replace(", ", ",\n"), fontsize=9)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=7)
    axes.margins(y=0.1)


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
