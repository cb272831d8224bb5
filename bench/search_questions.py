"""What is searched in the measurement of search: words of the texts that are there.

Each question of a kind has other words than the one before.
"""

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import urlencode

from handlers.search import SEARCH

from .inprocess import Gateway
from .search_files import users_in
from .texts import CONSONANTS, has_name, is_chinese, word, words_of

COMMON_WORDS = 100
PREFIX = 4  # letters
PAGE_ROWS = 20

# The names of kinds that goals use.
RARE, CHARACTER = "rare word", "part of Chinese, 1 character"


class Question(NamedTuple):
    """What somebody searches, and whose messages."""

    text: str
    user_id: str | None = None
    sort: str = "relevance"

    def send(self, gateway: Gateway) -> str:
        parameters = {"q": self.text, "sort": self.sort, "limit": PAGE_ROWS}
        user = {"X-User-Id": self.user_id} if self.user_id else {}
        return gateway.send("GET", f"{SEARCH}?{urlencode(parameters)}", **user)

    @property
    def like(self) -> tuple[str, list[str]]:
        """The query of an app that has no index, and its parameters."""
        owner = [self.user_id] if self.user_id else []
        of_user = "conversation_id IN (SELECT id FROM conversation WHERE user_id = ?) AND "
        query = (
            f"SELECT * FROM message WHERE {of_user if owner else ''}content LIKE ? "
            f"ORDER BY id DESC LIMIT {PAGE_ROWS}"
        )
        return query, [*owner, f"%{self.text}%"]


def number_in(chance: random.Random, size: int, which: Callable[[int], bool]) -> int:
    """The number of one of the texts."""
    while not which(number := chance.randint(1, size)):
        pass
    return number


def _words(chance: random.Random, size: int) -> list[str]:
    return words_of(number_in(chance, size, lambda number: not is_chinese(number)))


def _rare(chance: random.Random, size: int) -> str:
    return words_of(number_in(chance, size, has_name))[0]


def _common(chance: random.Random, size: int) -> str:
    return word(chance.randrange(COMMON_WORDS))


def _two(chance: random.Random, size: int) -> str:
    return " ".join(chance.sample(_words(chance, size), 2))


def _phrase(chance: random.Random, size: int) -> str:
    return '"{} {}"'.format(*chance.choice([*pairwise(_words(chance, size))]))


def _prefix(chance: random.Random, size: int) -> str:
    long = [each for each in _words(chance, size) if len(each) >= PREFIX]
    return f"{chance.choice(long)[:PREFIX]}*" if long else _prefix(chance, size)


def _letter(chance: random.Random, size: int) -> str:
    return f"{chance.choice(CONSONANTS)}*"


def _character(chance: random.Random, size: int) -> str:
    return chance.choice(words_of(number_in(chance, size, is_chinese)))


def _chinese(chance: random.Random, size: int) -> str:
    return "".join(chance.choice([*pairwise(words_of(number_in(chance, size, is_chinese)))]))


KINDS: dict[str, tuple[Callable[[random.Random, int], str], bool, str]] = {
    RARE: (_rare, False, "relevance"),
    "common word": (_common, False, "relevance"),
    "common word, newest first": (_common, False, "newest"),
    "two words": (_two, False, "relevance"),
    "phrase of two words": (_phrase, False, "relevance"),
    f"prefix of {PREFIX} letters": (_prefix, False, "relevance"),
    "prefix of 1 letter": (_letter, False, "relevance"),
    CHARACTER: (_character, False, "relevance"),
    "part of Chinese, 2 characters": (_chinese, False, "relevance"),
    "common word, one user of many": (_common, True, "relevance"),
    "rare word, one user of many": (_rare, True, "relevance"),
}
LIKE_KINDS = (RARE, "common word, newest first", "common word, one user of many")


def questions(kind: str, size: int, chance: random.Random) -> Iterator[Question]:
    """Questions of a kind for the file of that size, without an end."""
    make, is_of_user, sort = KINDS[kind]
    while True:
        user_id = f"user-{chance.randrange(users_in(size))}" if is_of_user else None
        yield Question(make(chance, size), user_id, sort)
