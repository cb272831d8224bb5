"""A conversation of an export on its way into the store, and what became of it."""

import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import client_ids
from ..models import ClientIdRow, MessageRow
from .imported_ids import own_id, tail_in, tails_of
from .parsed import Owner, Parsed
from .rows import row_of
from .tree import Placed, Tree

CREATED, EXTENDED, UNCHANGED = "created", "extended", "unchanged"
CHANGED, UPDATED = "changed_at_the_source", "updated"
DELETED_HERE, RESTORED = "deleted_here", "restored"

# What a format raises if a field is of another type than it ever was, and what the store raises for
# values that are nested too deep.
STRANGE = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)


class Options(NamedTuple):
    update: bool = False  # overwrite what differs from the source
    restore: bool = False  # bring back what was deleted here
    is_dry: bool = False  # write nothing

    @property
    def compares_all(self) -> bool:
        return self.update or self.restore


@dataclass(slots=True)
class Arrival:
    """A conversation of an export, as it comes in."""

    owner: Owner
    format: str
    id: str  # the source's
    sha256: str
    parsed: Parsed
    tree: Tree
    _tails: Callable[[str], int] = field(init=False)

    def __post_init__(self) -> None:
        self._tails = tails_of(self.format, *self.owner, self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return Arrival, (self.owner, self.format, self.id, self.sha256, self.parsed, self.tree)

    @property
    def source(self) -> str:
        return f"{self.format}:{self.id}"

    def tail(self, message_id: str, is_own: bool, known: Container[int]) -> int:
        """What says which message it is. It may be one of ours that comes back.

        `known` are the tails of those that are here or were deleted here.
        """
        own = own_id(message_id)
        if own and (is_own or tail_in(own) in known):
            return tail_in(own)
        return self._tails(message_id)

    def row(
        self, placed: Placed, conversation_id: str, position: int, after: str, is_own: bool
    ) -> MessageRow:
        """A new message. If the conversation was ours, the message may have an id of ours."""
        own = own_id(placed.id) if is_own else None
        tail = tail_in(own) if own else self._tails(placed.id)
        return row_of(placed, conversation_id, position, tail, own, after)

    @property
    def updated(self) -> int:
        """When the source changed last, in milliseconds: as it says, or by its messages."""
        said = self.parsed.updated
        newest = max((placed.updated for placed in self.tree.messages), default=0)
        return min(newest if said is None else said, time.time_ns() // 1_000_000)


@dataclass(slots=True)
class Result:
    """What became of an arrival: one or several of the words above."""

    words: list[str] = field(default_factory=list)
    messages: int = 0  # that are new here
    branches: int = 0
    deleted: int = 0  # messages that were deleted here, and are left so


def claim(row: MessageRow) -> None:
    """Let the message keep its client's own name."""
    digest = client_ids.digest_of(row.role, row.content_type, str(row.content))
    claimed = ClientIdRow(row.conversation_id, str(row.client_id), row.id, digest, None)
    client_ids.claim(claimed)
