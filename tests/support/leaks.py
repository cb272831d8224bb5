"""Looks for keys and tokens where none may be."""

import re
from collections.abc import Iterable

PART_CHARACTERS = 20  # of the 43 random ones: who has fewer has to guess 138 bits


def assert_hidden(plains: Iterable[str], place: str | bytes) -> None:
    """Assert that no key or token, nor a part of one, is in a text or in the bytes of files."""
    text = place if isinstance(place, str) else place.decode("latin-1")
    seen = 0
    for plain in plains:
        random = re.sub("^confab_(user_)?", "", plain)
        for start in range(len(random) - PART_CHARACTERS + 1):
            part = random[start : start + PART_CHARACTERS]
            assert part not in text, f"{plain} at {text.index(part)}"
        seen += 1
    assert seen
