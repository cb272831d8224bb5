"""The lines that a soak prints: one a minute, and a summary in Markdown at the end."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from .tally import Tally


class Minute(NamedTuple):
    """What was seen at the end of a minute."""

    number: float
    resident: int  # bytes, of all processes
    proportional: int  # the same, with shared pages counted once
    database: int  # bytes


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def milliseconds(values: Iterable[float]) -> str:
    """p50, p99 and the longest."""
    found = list(values)
    shown = (percentile(found, 0.5), percentile(found, 0.99), max(found, default=float("nan")))
    return " | ".join(f"{each * 1000:,.1f}" for each in shown)


def counts(found: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in found.most_common()) or "none"


def progress(tally: Tally, minute: Minute, since: float) -> str:
    writes, health = tally.writes.since(since), tally.health.since(since)
    wrong = f" WRONG: {counts(tally.wrong)}" if tally.wrong else ""
    return (
        f"{minute.number:5.1f} min: {len(writes):,} writes (p99 {percentile(writes, 0.99):.3f} s), "
        f"{tally.events:,} events told, {tally.compared:,} followed to the end, "
        f"{tally.kills} kills, {tally.retried.total():,} retries, "
        f"health p99 {percentile(health, 0.99) * 1000:.0f} ms, "
        f"PSS {minute.proportional / 1e6:.0f} MB, database {minute.database / 1e6:.0f} MB{wrong}"
    )


def summary(tally: Tally, minutes: list[Minute], about: str, conversations: int) -> str:
    every = [took for _, took in tally.writes]
    quiet = tally.quiet()
    back = tally.back_seconds
    first, last = minutes[0], minutes[-1]
    largest = max(minutes, key=lambda minute: minute.proportional)
    lines = [
        "## Soak",
        "",
        about,
        "",
        "| | |",
        "| --- | --- |",
        f"| acknowledged writes | {len(every):,}: {counts(tally.acknowledged)} |",
        f"| conversations read back | {conversations:,} |",
        f"| lost, doubled, half-written, out of order | {counts(tally.wrong)} |",
        f"| follower events | {tally.events:,}; "
        f"{tally.compared:,} copies compared at the end of a conversation |",
        f"| retried | {counts(tally.retried)} |",
        f"| kills | {tally.kills}; from SIGKILL to the first answer "
        f"{percentile(back, 0.5):.2f} s, at most {max(back, default=0):.2f} s |",
        f"| ended by itself | {tally.ended} |",
        *(f"| while: {name} | {counts(told)} |" for name, told in tally.told.items()),
        f"| memory, RSS (PSS) | first minute {_memory(first)}, last {_memory(last)}, "
        f"most {_memory(largest)} |",
        f"| database | {first.database / 1e6:.1f} → {last.database / 1e6:.1f} MB |",
        "",
        "| milliseconds | p50 | p99 | most |",
        "| --- | --- | --- | --- |",
        f"| writes, quiet moments ({len(quiet):,}) | {milliseconds(quiet)} |",
        f"| writes, all, with retries | {milliseconds(every)} |",
        f"| /health ({len(tally.health):,}) | {milliseconds(t for _, t in tally.health)} |",
    ]
    if tally.surprises:
        lines += ["", "What was wrong, the first of it:", ""]
        lines += [f"- {surprise}" for surprise in tally.surprises]
    return "\n".join(lines)


def _memory(minute: Minute) -> str:
    return f"{minute.resident / 1e6:.0f} ({minute.proportional / 1e6:.0f}) MB"
