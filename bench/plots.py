"""The plots: throughput, latency and growth, as PNGs that fit README's width."""

from collections.abc import Sequence
from math import log10
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from .growth import API_V1_SKIP, APPEND, GET, Growth
from .peers import TWINS, Comparison
from .wrk import EIGHT

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
        "axes.titlelocation": "left",
        "grid.color": "#e6e6e6",
    }
)
BLUE, ORANGE, GREEN, GREY = "#2364aa", "#d9822b", "#3a8f5c", "#868d94"
HIGHLIGHTED = {API_V1_SKIP: ORANGE, GET: BLUE, APPEND: GREEN}
LABEL_GAP = 0.075  # between two labels, of the height of the plot
LIGHT = 0.35  # opacity


def throughput(found: list[Comparison], path: Path) -> None:
    """Requests a second of each operation, of ours and of both twins."""
    shown = _shown(found)
    figure, panels = pyplot.subplots(1, len(shown))
    figure.suptitle(f"Requests a second, {EIGHT.name}", x=0.01, ha="left")
    labels = ("ours", *(f"FastAPI,\n{way}" for way in TWINS))
    for each, axes in zip(shown, panels, strict=True):
        rates = [each.typical(name) for name in ("ours", *TWINS)]
        bars = axes.bar(labels, rates, color=(BLUE, GREY, GREY))
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=2)
        _name(axes, each)
    _save(figure, path)


def latency(found: list[Comparison], path: Path) -> None:
    """The median and the 99th percentile, of ours and of the faster twin."""
    shown = _shown(found)
    figure, panels = pyplot.subplots(1, len(shown))
    title = f"Milliseconds until the answer: median (dark) – 99th percentile (light), {EIGHT.name}"
    figure.suptitle(title, x=0.01, ha="left")
    for each, axes in zip(shown, panels, strict=True):
        for label, name, colour in (("ours", "ours", BLUE), ("FastAPI", each.twin, GREY)):
            p50, p99 = (each.typical(name, field) for field in ("p50", "p99"))
            bar = axes.bar(label, p99, color=colour, alpha=LIGHT)
            axes.bar(label, p50, color=colour)
            axes.bar_label(bar, [f"{_short(p50)} – {_short(p99)}"], padding=2, fontsize=8)
        _name(axes, each)
    _save(figure, path)


def growth(found: list[Growth], path: Path) -> None:
    """Each operation's time relative to that on the smallest file, named where its line ends."""
    sizes = found[0].sizes
    times = {
        each.operation: [each.typical(size) / each.typical(sizes[0]) for size in sizes]
        for each in found
    }
    figure, axes = pyplot.subplots()
    labels = []
    for name, line in times.items():
        colour = HIGHLIGHTED.get(name, GREY)
        width, order = (2, 3) if name in HIGHLIGHTED else (1, 2)
        axes.plot(sizes, line, "o-", color=colour, linewidth=width, markersize=4, zorder=order)
        if name in HIGHLIGHTED:
            labels.append((line[-1], f"{name}, {line[-1]:.2f} ×", colour))
    others = [line[-1] for name, line in times.items() if name not in HIGHLIGHTED]
    range_of_others = f"{min(others):.2f} to {max(others):.2f} ×"
    labels.append((_middle(others), f"{len(others)} others, {range_of_others}", GREY))
    every = [value for line in times.values() for value in line]
    _relative_scale(axes, min(every), max(every))
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xlabel("conversations")
    axes.set_title("Time of a request as conversations grow, relative to the smallest file")
    _label_ends(axes, labels)
    _save(figure, path)


def _relative_scale(axes: pyplot.Axes, lowest: float, highest: float) -> None:
    """A log axis that holds all values, and at least from a half to twice."""
    bottom, top = min(0.5, lowest / 1.2), max(2, highest * 1.2)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if bottom <= tick <= top]
    axes.set_yticks(ticks, [f"{tick:g} ×" for tick in ticks])


def _label_ends(axes: pyplot.Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write each label at the height of its value, or as near above the one below as it fits."""
    bottom, top = (log10(limit) for limit in axes.get_ylim())
    least = 0.0
    for value, text, colour in sorted(labels):
        height = max((log10(value) - bottom) / (top - bottom), least)
        least = height + LABEL_GAP
        axes.text(1.02, height, text, color=colour, va="center", transform=axes.transAxes)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _short(milliseconds: float) -> str:
    return f"{milliseconds:,.0f}" if milliseconds >= 10 else f"{milliseconds:.1f}"


def _shown(found: list[Comparison]) -> list[Comparison]:
    return [each for each in found if each.load == EIGHT.name]


def _name(axes: pyplot.Axes, shown: Comparison) -> None:
    axes.set_title(shown.operation.replace(", ", ",\n"), fontsize=9)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=7)
    axes.margins(y=0.1)


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
