"""Branches: how a conversation's messages are linked, and the messages on a path, root to leaf.

A path consists of runs: messages that follow each other by position. A run begins where a message
names its parent by `parent`, which the index `message_branch` finds. So a path is found in one step
for each run, and a line in none. Parents are older than their children, so the order of a path is
the order of its positions.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from peewee import CTE, Select, ValuesList, fn

from .engine.prepared import prepared, prepared_for_list
from .models import MESSAGE_COLUMNS, Conversation, Message, MessageRow

ROOT = 0  # the `parent` of a root that is not the first message
MAX_POSITION = 2**63 - 1
MAX_RUNS = 128  # read by one query

Stored = tuple[Any, ...]
_CONVERSATION, _POSITION = map(MessageRow._fields.index, ("conversation_id", "position"))
conversation_in = itemgetter(_CONVERSATION)
position_in = itemgetter(_POSITION)
_conversation_and_position_in = itemgetter(_CONVERSATION, _POSITION)


class Run(NamedTuple):
    """The messages at the positions from `low` to `high`."""

    low: int
    high: int


LINE = [Run(0, MAX_POSITION)]  # all messages of a conversation
_NOTHING = Run(1, 0)


def _parent_id() -> Any:
    """The id of a message's parent, as a column of a query of `Message`. NULL for a root."""
    parent, older = Message.alias(), Message.alias()
    before = older.select(fn.MAX(older.position)).where(
        older.conversation_id == Message.conversation_id, older.position < Message.position
    )
    return parent.select(parent.id).where(
        parent.conversation_id == Message.conversation_id,
        parent.position == fn.COALESCE(Message.parent, before),
    )


# What `MessageRow.decoded` takes. It costs two steps in the index for each row. Rows on a path do
# without: there, each row is the next one's parent.
LINKED_COLUMNS = [*MESSAGE_COLUMNS, _parent_id().alias("parent_id")]


# --- Paths


def runs_to(conversation_id: str, message_id: str) -> list[Run]:
    """The runs of the path that ends with a message, newest first. [] if there is no such one."""
    return list(map(Run._make, sorted(_runs(conversation_id, message_id), reverse=True)))


def page(
    conversation_id: str,
    runs: Sequence[Run],
    upwards: bool,
    bound: int,
    limit: int,
    linked: bool = False,
) -> list[Stored]:
    """The rows of some runs, which come newest first, on one side of a position, nearest first.

    With `linked`, the rows have the parents' ids.
    """
    if upwards:
        ahead = [Run(max(run.low, bound + 1), run.high) for run in reversed(runs)]
    else:
        ahead = [Run(run.low, min(run.high, bound - 1)) for run in runs]
    ahead = [run for run in ahead if run.low <= run.high]
    found: list[Stored] = []
    while ahead and len(found) < limit:
        # Runs that are no longer than the page are read together, and others alone.
        count = positions = 0
        for run in ahead[:MAX_RUNS]:
            positions += run.high - run.low + 1
            if positions > limit and count:
                break
            count += 1
        some, ahead = ahead[:count], ahead[count:]
        padded = [*some, *[_NOTHING] * ((1 << (count - 1).bit_length()) - count)]
        query = _rows_of_runs(len(padded), upwards, linked)
        rows = query(conversation_id, limit, *chain.from_iterable(padded)).fetchall()
        if count > 1:
            rows.sort(key=position_in, reverse=not upwards)
        found += rows
    return found[:limit]


def path(conversation_id: str, message_id: str) -> list[Stored]:
    """All rows on the path that ends with a message, in order. [] if there is no such one."""
    return sorted(_path(conversation_id, message_id), key=position_in)


def active_branches(conversation_ids: Sequence[str]) -> list[Stored]:
    """All rows on the active branches of some conversations, each one's together, in order."""
    return sorted(_active(conversation_ids), key=_conversation_and_position_in)


# --- Links


def parent_id_at(conversation_id: str, position: int) -> str | None:
    """The id of the parent of the message at a position."""
    return _parent_at(conversation_id, position).fetchone()[0]


def newest_id(conversation_id: str) -> str | None:
    """The id of the conversation's newest message, whatever its branch."""
    found = _newest(conversation_id).fetchone()
    return found[0] if found else None


def unlink(row: MessageRow) -> None:
    """Give the children of a message, which is about to be deleted, its own parent."""
    of, at = row.conversation_id, row.position
    parent = row.parent
    if parent is None:
        before = _before(of, at).fetchone()
        _relink(of, at, before[0] if before else ROOT)
        return
    _relink(of, at, parent)
    after = _after(of, at).fetchone()
    if after is not None and after[1] is None:  # it follows this one by position
        _link(of, after[0], parent)


# --- Queries


def _low(conversation_id: Any, position: Any) -> Any:
    """Where the run begins that has a position."""
    first = Message.alias()
    begins = first.select(fn.MAX(first.position)).where(
        first.conversation_id == conversation_id,
        first.parent.is_null(False),
        first.position <= position,
    )
    return fn.COALESCE(begins, ROOT)


def _with_older_runs(newest: Any) -> Any:
    """The recursive query of all runs of the paths whose newest runs are given."""
    begun = newest.cte("run", recursive=True, columns=("conversation_id", "low", "high"))
    first = Message.alias()
    older = (
        Select([begun])
        .columns(
            begun.c.conversation_id,
            _low(first.conversation_id, first.parent),
            first.parent,
        )
        .join(
            first,
            on=(first.conversation_id == begun.c.conversation_id)
            & (first.position == begun.c.low)
            & (first.parent > ROOT),
        )
    )
    return begun.union_all(older)


def _rows_of(runs: Any) -> Any:
    """The messages in some runs, in no order."""
    return runs.select_from(*MESSAGE_COLUMNS).join(
        Message,
        on=(Message.conversation_id == runs.c.conversation_id)
        & Message.position.between(runs.c.low, runs.c.high),
    )


def _runs_of_path(conversation_id: Any, id: Any) -> Any:
    newest = Message.select(
        Message.conversation_id, _low(Message.conversation_id, Message.position), Message.position
    ).where(Message.conversation_id == conversation_id, Message.id == id)
    return _with_older_runs(newest)


@prepared
def _runs(conversation_id: Any, id: Any) -> Any:
    """The runs of the path that ends with a message."""
    runs = _runs_of_path(conversation_id, id)
    return runs.select_from(runs.c.low, runs.c.high)


@prepared
def _path(conversation_id: Any, id: Any) -> Any:
    """All messages of the path that ends with a message, in no order."""
    return _rows_of(_runs_of_path(conversation_id, id))


@prepared_for_list
def _active(conversation_ids: Any) -> Any:
    """All messages of the active branches of some conversations, in no order."""
    newest = (
        Conversation.select(
            Message.conversation_id,
            _low(Message.conversation_id, Message.position),
            Message.position,
        )
        .join(
            Message,
            on=(Message.conversation_id == Conversation.id)
            & (Message.id == Conversation.last_message_id),
        )
        .where(Conversation.id.in_(conversation_ids))
    )
    return _rows_of(_with_older_runs(newest))


@cache
def _rows_of_runs(count: int, upwards: bool, linked: bool) -> prepared:
    """The rows of some runs, from each as many as are wanted in all."""

    def build(conversation_id: Any, limit: Any, *bounds: Any) -> Any:
        columns = LINKED_COLUMNS if linked else MESSAGE_COLUMNS
        if count == 1:
            low, high = bounds
            order = Message.position.asc() if upwards else Message.position.desc()
            found = Message.select(*columns).where(
                Message.conversation_id == conversation_id, Message.position.between(low, high)
            )
            return found.order_by(order).limit(limit)
        pairs = list(zip(bounds[::2], bounds[1::2], strict=True))
        runs = CTE("run", ValuesList(pairs), columns=("low", "high"))
        return (
            Select([runs], columns)
            .with_cte(runs)
            .join(Message, "CROSS JOIN")
            .where(
                Message.conversation_id == conversation_id,
                Message.position.between(runs.c.low, runs.c.high),
            )
        )

    return prepared(build, 2 + 2 * count)


@prepared
def _parent_at(conversation_id: Any, position: Any) -> Any:
    """The parent of one message."""
    return Message.select(_parent_id()).where(
        Message.conversation_id == conversation_id, Message.position == position
    )


@prepared
def _newest(conversation_id: Any) -> Any:
    """The id of the conversation's newest message."""
    return (
        Message.select(Message.id)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.position.desc())
        .limit(1)
    )


@prepared
def _before(conversation_id: Any, position: Any) -> Any:
    """The message before a position."""
    return (
        Message.select(Message.position)
        .where(Message.conversation_id == conversation_id, Message.position < position)
        .order_by(Message.position.desc())
        .limit(1)
    )


@prepared
def _after(conversation_id: Any, position: Any) -> Any:
    """The message after a position."""
    return (
        Message.select(Message.position, Message.parent)
        .where(Message.conversation_id == conversation_id, Message.position > position)
        .order_by(Message.position)
        .limit(1)
    )


@prepared
def _relink(conversation_id: Any, old_parent: Any, parent: Any) -> Any:
    """Another parent for all messages that name this one."""
    return Message.update(parent=parent).where(
        Message.conversation_id == conversation_id,
        Message.position > old_parent,
        Message.parent.is_null(False),
        Message.parent == old_parent,
    )


@prepared
def _link(conversation_id: Any, position: Any, parent: Any) -> Any:
    """The parent of one message."""
    return Message.update(parent=parent).where(
        Message.conversation_id == conversation_id, Message.position == position
    )
