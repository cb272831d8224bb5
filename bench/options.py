"""What each part of the benchmark is told, and what it returns for the report."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Step = Callable[[str], None]  # says what was just finished, for the progress bar


class Options(NamedTuple):
    folder: Path  # for what one run makes; removed afterwards
    cache: Path  # for what takes long to make; kept
    quick: bool = False
    sizes: tuple[int, ...] = ()  # conversations, for growth and side bars

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 5

    def scaled(self, times: int) -> int:
        return max(1, times // 5) if self.quick else times


class Section(NamedTuple):
    """A part of the report. `measured` has the values that goals name."""

    title: str
    about: str
    header: list[str]
    rows: list[list[str]]
    measured: dict[str, float]
