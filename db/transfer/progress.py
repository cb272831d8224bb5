"""How far an import or export has come: a bar on a terminal, else a plain line now and then."""

import sys
import time
from types import TracebackType
from typing import Any

import click

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_DRAWINGS = 0.1


class Progress:
    """To be used as a context. Nothing goes to standard output."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._is_drawn = sys.stderr.isatty()
        self._began_at = self._told_at = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, traceback)

    def show(self, conversations: int, total: int) -> None:
        """So many conversations of all are done."""
        self.show_bytes(conversations, total, conversations)

    def show_bytes(self, done: int, total: int, conversations: int) -> None:
        """So many bytes of all were read, with so many conversations in them."""
        now = time.monotonic()
        least = SECONDS_BETWEEN_DRAWINGS if self._is_drawn else SECONDS_BETWEEN_LINES
        if now < self._told_at + least:
            return
        self._told_at = now
        if self._is_drawn:
            self._draw(done, total, conversations)
            return
        left = (now - self._began_at) * (total / done - 1) if done else 0
        click.echo(
            f"{self._label}: {done / max(1, total):.0%}, {conversations:,} conversations, "
            f"{left:.0f} s left.",
            err=True,
        )

    def _draw(self, done: int, total: int, conversations: int) -> None:
        if self._bar is None:
            self._bar = click.progressbar(
                length=total,
                label=self._label,
                item_show_func=lambda count: f"{count or 0:,} conversations",
                file=sys.stderr,
            )
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos, conversations)
