"""What the two engines' full-text indexes are given of a text, and how they are asked.

Both get words that are made here, so that both find the same. A run of a script without spaces is
given as its pairs of neighbours and its last character, so that any part of it is a phrase: `ABC`
as `AB BC C`, in which `BC` is found, and `C` as a beginning.

An answer of an index is a candidate: whoever asks compares it with the text.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ..terms import Term, has_runs, is_run
from .database import database

# PostgreSQL takes no word of more than 2,046 bytes, so longer ones are cut there.
WORD_CODE_POINTS = 301
# PostgreSQL keeps at most 255 positions of a word, up to 16,383, and a megabyte in all. A text that
# has more is stored without positions, or without words, and then says so with a mark.
POSITIONS_OF_WORD, POSITIONS, TSVECTOR_BYTES = 255, 16_383, 1_000_000
UNPLACED, UNLISTED = "_unplaced", "_unlisted"


def document(marks: Sequence[str], terms: str) -> str:
    """What is stored of a text: marks, which begin with `_`, and its words."""
    on_sqlite = database.engine == "sqlite"
    if on_sqlite and not has_runs(terms):
        return f"{' '.join(marks)}{terms}".rstrip()
    words = [*marks, *(piece for word in terms.split() for piece in _pieces(word))]
    if on_sqlite:
        return " ".join(words)
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words, start=1):
        places.setdefault(word, []).append(place)
    if len(words) > POSITIONS or max(map(len, places.values())) > POSITIONS_OF_WORD:
        return _without_places([UNPLACED, *places])
    stored = " ".join(f"'{word}':{','.join(map(str, at))}" for word, at in places.items())
    return stored if _fits(stored) else _without_places([UNPLACED, *places])


def _without_places(words: Iterable[str]) -> str:
    stored = " ".join(f"'{word}'" for word in words)
    if _fits(stored):
        return stored
    return " ".join(f"'{word}'" for word in (UNLISTED, *words) if word[0] == "_")


def _fits(stored: str) -> bool:
    return len(stored.encode()) < TSVECTOR_BYTES


def _pieces(word: str) -> Iterable[str]:
    if is_run(word):
        return [*map("".join, pairwise(word)), word[-1]]
    return (_cut(word),)


def _cut(word: str) -> str:
    return word if database.engine == "sqlite" else word[:WORD_CODE_POINTS]


def matching(
    marks: Sequence[Sequence[str]], required: Iterable[Term], excluded: Iterable[Term]
) -> str:
    """The question for what has one mark of each group, all that is required, nothing excluded.

    There must be a group of marks, so that it is a question also without terms.
    """
    owned = [_any(map(_word, group)) for group in marks]
    wanted = [*map(_phrase, required)]
    # A word that is cut stands for others, too.
    whole = [term for term in excluded if max(map(len, term.words)) <= WORD_CODE_POINTS]
    unwanted = [_phrase(term, is_certain=True) for term in whole]
    if database.engine == "sqlite":
        asked = " AND ".join([*owned, *wanted])
        return f"({asked}) NOT ({' OR '.join(unwanted)})" if unwanted else asked
    text = " & ".join(wanted + [f"!({phrase})" for phrase in unwanted])
    return " & ".join([*owned, f"(({text}) | {_word(UNLISTED)})"] if text else owned)


def _any(words: Iterable[str]) -> str:
    return f"({(' OR ' if database.engine == 'sqlite' else ' | ').join(words)})"


def _word(word: str) -> str:
    return f'"{word}"' if database.engine == "sqlite" else f"'{word}'"


def _phrase(term: Term, is_certain: bool = False) -> str:
    """The words of a term as the index has them, one behind the other.

    Where their places are not known, they may be. What is excluded has to be `is_certain`.
    """
    *before, last = term.words
    words = [piece for word in before for piece in _pieces(word)]
    is_prefix = term.is_prefix
    if is_run(last):
        # Its part may end anywhere in a run. One character is how a pair begins.
        is_prefix = len(last) == 1
        words += [last] if is_prefix else map("".join, pairwise(last))
    else:
        words.append(_cut(last))
    if database.engine == "sqlite":
        return f'"{" ".join(words)}"' + " *" * is_prefix
    placed = [f"'{word}'" for word in words]
    placed[-1] += ":*" * is_prefix
    phrase = f"({' <-> '.join(placed)})"
    if len(placed) == 1 or is_certain:
        return phrase
    return f"({phrase} | ({' & '.join([_word(UNPLACED), *placed])}))"


def index_bytes() -> int:
    """The size of the index."""
    size = "SELECT SUM(LENGTH(block)) FROM search_index_data"
    if database.obj.engine == "postgresql":
        size = "SELECT pg_total_relation_size('search_document')"
    return int(database.obj.execute_sql(size).fetchone()[0] or 0)
