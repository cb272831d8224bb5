"""Excerpts: the part of a text in which something was found, and where in it.

All places are in code points of the text as it is stored.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from .terms import RUNS, Term, fold, has_runs, is_run

EXCERPT_CODE_POINTS = 200
LEAD_CODE_POINTS = 60  # before the first hit, if the text begins so early
BLOCK_CODE_POINTS = 4_096
_SPACE = re.compile(r"\s\S")


class Excerpt(NamedTuple):
    """A part of a text, and the ranges [start, end) of it in which the terms stand."""

    text: str
    highlights: list[tuple[int, int]]


def excerpt(text: str, terms: Sequence[Term]) -> Excerpt:
    """The part of `text` around the first place that has one of `terms`."""
    folded = fold(text)
    expressions = [_expression(term, has_runs(folded)) for term in terms]
    firsts = [first.start() for each in expressions if (first := each.search(folded))]
    start = _start(text, _place(text, min(firsts))) if firsts else 0
    part = text[start : start + EXCERPT_CODE_POINTS]
    # A hit that begins in the excerpt may end behind it, and one may have begun before it.
    margin = min(start, LEAD_CODE_POINTS)
    around = text[start - margin : start + 2 * EXCERPT_CODE_POINTS]
    found = (
        (max(begin - margin, 0), min(end - margin, len(part)))
        for begin, end in _hits(around, expressions)
    )
    return Excerpt(part, [*_joined((begin, end) for begin, end in found if begin < end)])


def _start(text: str, hit: int) -> int:
    """Where the excerpt begins: at a word if it can, and not with a mark of what stands before."""
    if hit <= LEAD_CODE_POINTS or len(text) <= EXCERPT_CODE_POINTS:
        return 0
    start = min(hit - LEAD_CODE_POINTS, len(text) - EXCERPT_CODE_POINTS)
    if space := _SPACE.search(text, max(start - 1, 0), hit + 1):
        return space.end() - 1
    while start < hit and fold(text[start]) == "":
        start += 1
    return start


def _hits(text: str, expressions: Sequence[re.Pattern[str]]) -> Iterator[tuple[int, int]]:
    """The ranges of `text` that have a term, with the marks that follow."""
    folded = [fold(character) for character in text]
    origins = [place for place, piece in enumerate(folded) for _ in piece]
    whole = "".join(folded)
    for match in chain.from_iterable(each.finditer(whole) for each in expressions):
        end = origins[match.end() - 1] + 1
        while end < len(text) and folded[end] == "":
            end += 1
        yield origins[match.start()], end


def _joined(ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same ranges, those that overlap as one."""
    current: tuple[int, int] | None = None
    for start, end in sorted(ranges):
        if current is None:
            current = (start, end)
        elif start < current[1]:
            current = (current[0], max(current[1], end))
        else:
            yield current
            current = (start, end)
    if current is not None:
        yield current


def _place(text: str, folded_place: int) -> int:
    """Where in `text` the code point stands that is found at a place of the folded text."""
    before = 0
    for start in range(0, len(text), BLOCK_CODE_POINTS):
        block = text[start : start + BLOCK_CODE_POINTS]
        length = len(fold(block))
        if before + length > folded_place:
            for offset, character in enumerate(block):
                before += len(fold(character))
                if before > folded_place:
                    return start + offset
        before += length
    return 0


@lru_cache(1024)
def _expression(term: Term, with_runs: bool) -> re.Pattern[str]:
    """What finds a term in folded text, and where. See `terms.pattern`.

    A word ends before a space or a run. A run that has words on both sides is a whole one. Without
    runs in the text this is compiled in 0.1 ms, and with them in 2.
    """
    runs = RUNS if with_runs else ""
    found = ""
    for place, word in enumerate(term.words):
        is_first, is_last = place == 0, place == len(term.words) - 1
        if is_run(word):
            before = "" if is_first else f"(?<![{RUNS}])"
            behind = "" if is_last else f"(?![{RUNS}])"
        else:
            before = f"(?<![^ {runs}])"
            behind = f"[^ {runs}]*" if is_last and term.is_prefix else f"(?![^ {runs}])"
        found += " *" * (not is_first) + before + re.escape(word) + behind
    return re.compile(found)
