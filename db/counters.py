"""What this process has done since it began, counted for who watches it."""

from collections import Counter

PURGED = "purged conversations"

counted: Counter[str] = Counter()
