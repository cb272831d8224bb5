"""A search that is slow and easy to believe: it looks at every text, and shares no code with `db`.

Words, "phrases", -without, prefix*; neither case nor diacritics count; what is written without
spaces is found by any part of it.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby, takewhile
from typing import NamedTuple

# How Unicode's names of the characters begin that are written without spaces.
UNSPACED = (
    *("CJK", "IDEOGRAPHIC ITERATION", "IDEOGRAPHIC CLOSING", "IDEOGRAPHIC NUMBER", "HANGZHOU"),
    *("HIRAGANA", "KATAKANA", "HENTAIGANA", "BOPOMOFO", "YI "),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN LETTER", "TIBETAN SIGN", "TAI ", "NEW TAI"),
    *("BALINESE", "JAVANESE", "KHITAN"),
)
SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"


class Text(NamedTuple):
    """A finished message, or a conversation's title, which has no role."""

    id: str
    project_id: str
    user_id: str | None
    role: str | None
    is_archived: bool
    text: str


class Wanted(NamedTuple):
    words: tuple[str, ...]
    is_prefix: bool
    is_excluded: bool


@cache
def is_unspaced(character: str) -> bool:
    return unicodedata.name(character, "").startswith(UNSPACED)


@cache
def _simple(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "M" or category == "Cf" or character in SKIN_TONES:
        return ""
    return character if character.isalnum() or category == "So" else " "


def _signs_apart(text: str) -> str:
    return "".join(f" {c} " if unicodedata.category(c) == "So" else c for c in text)


@cache
def words(text: str) -> tuple[str, ...]:
    """The words of a text, folded. A sign such as an emoji is one, and so is an unspaced run."""
    folded = unicodedata.normalize("NFKD", _signs_apart(text)).casefold()
    simple = "".join(map(_simple, _signs_apart(unicodedata.normalize("NFKD", folded))))
    return tuple("".join(part) for word in simple.split() for _, part in groupby(word, is_unspaced))


@cache
def parts_of(query: str) -> tuple[Wanted, ...]:
    parts: list[Wanted] = []
    rest = query.lstrip()
    while rest:
        is_excluded = rest[0] == "-"
        rest = rest[is_excluded:]
        if rest[:1] == '"':
            literal, end, rest = rest[1:].partition('"')
            is_prefix = end == '"' and rest[:1] == "*"
            rest = rest[is_prefix:]
        else:
            literal = "".join(takewhile(lambda character: not character.isspace(), rest))
            is_prefix = literal[-1:] == "*"
            rest = rest[len(literal) :]
        if found := words(literal):
            parts.append(Wanted(found, is_prefix, is_excluded))
        rest = rest.lstrip()
    return tuple(parts)


@cache
def _all_words(text: str) -> str:
    return " ".join(words(text))


def has(text: str, wanted: Wanted) -> bool:
    if any(word not in _all_words(text) for word in wanted.words):  # which is quick
        return False
    there, count = words(text), len(wanted.words)
    return any(
        _follow_each_other(there[start : start + count], wanted)
        for start in range(len(there) - count + 1)
    )


def _follow_each_other(there: tuple[str, ...], wanted: Wanted) -> bool:
    *before, last = zip(there, wanted.words, strict=True)
    for place, (word, other) in enumerate(before):
        begins_anywhere = place == 0 and is_unspaced(other[0])
        if not (word.endswith(other) if begins_anywhere else word == other):
            return False
    word, other = last
    if not is_unspaced(other[0]):
        return word.startswith(other) if wanted.is_prefix else word == other
    return word.startswith(other) if before else other in word


def finds(text: str, query: str) -> bool:
    parts = parts_of(query)
    return not all(wanted.is_excluded for wanted in parts) and all(
        has(text, wanted) != wanted.is_excluded for wanted in parts
    )


def search(
    texts: Iterable[Text],
    query: str,
    project_id: str | None = None,
    user_id: str | None = None,
    role: str | None = None,
    is_archived: bool | None = None,
) -> list[str]:
    """The ids of what is found, the newest first."""
    return sorted(
        (
            text.id
            for text in texts
            if project_id in (None, text.project_id)
            and user_id in (None, text.user_id)
            and role in (None, text.role)
            and is_archived in (None, text.is_archived)
            and finds(text.text, query)
        ),
        reverse=True,
    )
