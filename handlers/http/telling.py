"""What a request tells piece by piece while it is at work, to whoever asked, live if it can.

It is in this process alone: who comes later reads what was stored.
"""

from collections.abc import Hashable

from db.engine import notices

from .waiting import Found, Wait


class Telling:
    """The parts of a body that are there so far. A thread adds to them while others read."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.is_over = False

    def add(self, part: str) -> None:
        self.parts.append(part)
        notices.tell({self})

    def end(self) -> None:
        self.is_over = True
        notices.tell({self})


class TellingWait(Wait):
    """A request that is told all of it, to its end."""

    is_gathered = True
    ends_with_server = False

    def __init__(self, telling: Telling, seconds: float, sign_of_life: str) -> None:
        """It waits for so many seconds without a part."""
        super().__init__(telling, seconds, is_live=True)
        self.sign_of_life = sign_of_life
        self._telling = telling
        self._told = 0  # parts

    @property
    def key(self) -> Hashable:
        return self._told

    def look(self) -> Found:
        is_over = self._telling.is_over  # before the parts: no more come then
        there = len(self._telling.parts)
        new = self._telling.parts[self._told : there]
        body = "".join(new) if new or is_over else None
        return Found(body, there, place=there, is_last=is_over)

    def go_on(self, place: int) -> None:
        self._told = place
