"""Texts as people write them: few words are common, most are rare, and some texts are Chinese.

The eight words of `data.py` are no use for a search: each of them is in every text.
"""

import random
from functools import lru_cache
from itertools import accumulate

WORDS, CHARACTERS = 50_000, 3_000
CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
FIRST_CHARACTER = 0x4E00
MEDIAN_LOGARITHM, SPREAD = 3.4, 0.8  # of the number of words: half of the texts have 30 or more
MOST_WORDS = 400
SENTENCE = 12  # words, or as many characters of Chinese


def _weights(count: int) -> list[float]:
    """Zipf's law, as Mandelbrot has it."""
    return [*accumulate(1 / (rank + 2.7) for rank in range(count))]


OF_WORDS, OF_CHARACTERS = _weights(WORDS), _weights(CHARACTERS)


@lru_cache(WORDS)
def word(rank: int) -> str:
    """A made-up word. Common ones are short, and several rare ones begin alike."""
    left, syllables = rank + 5, ""
    while left:
        left, number = divmod(left, len(CONSONANTS) * len(VOWELS))
        vowel, consonant = divmod(number, len(CONSONANTS))
        syllables += CONSONANTS[consonant] + VOWELS[vowel]
    return syllables


def is_chinese(number: int) -> bool:
    return number % 10 == 0


def has_name(number: int) -> bool:
    return number % 5 == 1


def words_of(number: int) -> list[str]:
    """The words, or characters, of the text with that number from 1 on. It is always the same.

    Every fifth text begins with a name, which five texts have in the middle: however many texts
    there are, there are words as rare as these.
    """
    chance = random.Random(number)
    count = min(MOST_WORDS, int(chance.lognormvariate(MEDIAN_LOGARITHM, SPREAD)) + 3)
    if is_chinese(number):
        places = chance.choices(range(CHARACTERS), cum_weights=OF_CHARACTERS, k=count)
        return [chr(FIRST_CHARACTER + 6 * place) for place in places]
    words = [*map(word, chance.choices(range(WORDS), cum_weights=OF_WORDS, k=count))]
    return [word(WORDS + chance.randrange(number // 25 + 1)), *words] if has_name(number) else words


def text(number: int) -> str:
    """The same in sentences."""
    words = words_of(number)
    sentences = [words[start : start + SENTENCE] for start in range(0, len(words), SENTENCE)]
    if is_chinese(number):
        return "，".join(map("".join, sentences)) + "。"
    return " ".join(f"{' '.join(sentence).capitalize()}." for sentence in sentences)
