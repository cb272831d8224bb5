"""Contexts: what a model is told of a conversation, within a budget of tokens.

A context is read backwards, page by page, until the budget is full: 3 ms for 8,000 tokens, nearly
all of it for the estimate. Two things need a look at the whole conversation: system messages, which
are always there, and the number of messages left out. An outline of positions and roles has both.
It takes 2 ms for 5,000 messages of 400 characters, and 10 ms if they have 2,000; reading them whole
takes 15 and 29 ms. An index of the system messages would be faster, and cost a page for each that
is appended; nor does it count the others.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple

from . import branches, conversations, messages, streams
from .branches import MAX_POSITION, Run
from .chat_messages import ChatMessage, Told, told
from .engine.database import snapshot
from .engine.prepared import prepared
from .messages import Draft
from .models import Message, MessageRow, type_of
from .scope import Scope
from .streams import settled
from .token_estimate import tokens_in_message

SYSTEM = "system"
BEFORE_ALL = 0  # a position before all that are given out
FIRST_ROWS = 32  # read at once; each further page is twice as long


class Context(NamedTuple):
    """What a model is told."""

    messages: list[ChatMessage]  # as for OpenAI's `/chat/completions`, oldest first
    tokens: int  # an estimate, rather too high than too low
    dropped: int  # messages of the branch that are left out because there is no room for them


class _Choice(NamedTuple):
    """What is told of some rows: of the system's all, and of the others those from a place on."""

    told: list[Told]
    tokens: int
    start: int
    parted: int  # rows behind the start that are left out, since their calls are before it
    is_final: bool  # whether older rows would make no difference


def read(
    scope: Scope,
    conversation_id: str,
    max_tokens: int,
    leaf: str | None = None,
    instructions: str | None = None,
    said: Sequence[Draft] = (),
) -> Context:
    """What a model is told of the active branch, or of the path that ends with the message `leaf`.

    `instructions` are told before it and what is `said` behind it, as if they were stored.
    All system messages and the newest message are there, over the budget if need be, and before it
    as many as fit, without a gap. A tool call and its results come together or not at all. If the
    newest message is a result, all since its call is there.
    Raises ConversationNotFound, and MessageNotFound for an unknown leaf.
    """
    first = [_row(Draft(SYSTEM, instructions), BEFORE_ALL)] if instructions else []
    rest = [_row(draft, MAX_POSITION + place) for place, draft in enumerate(said)]
    systems = [*first, *(row for row in rest if row.role == SYSTEM)]
    others = [row for row in rest if row.role != SYSTEM]
    return _read(scope, conversation_id, max_tokens, leaf, systems, others)


def of_drafts(max_tokens: int, instructions: str | None, said: Sequence[Draft]) -> Context:
    """What a model is told of messages that belong to no conversation."""
    first = [Draft(SYSTEM, instructions)] if instructions else []
    drafts = [*first, *said]
    rows = [_row(draft, place) for place, draft in enumerate(drafts)]
    choice = _choose(rows, max_tokens)
    dropped = sum(row.role != SYSTEM for row in rows[: choice.start]) + choice.parted
    return Context([it.message for it in choice.told], choice.tokens, dropped)


def _row(draft: Draft, position: int) -> MessageRow:
    """A draft as if it was stored at a position."""
    return MessageRow(
        id="",
        conversation_id="",
        role=draft.role,
        content=draft.content,
        status=draft.status,
        metadata=draft.metadata,
        created_at="",
        updated_at="",
        position=position,
        content_type=type_of(draft.content),
        revision=position,
        streamed_from=None,
        client_id=None,
        parent=None,
        parent_id=None,
    )


@settled
@snapshot
def _read(
    scope: Scope,
    conversation_id: str,
    max_tokens: int,
    leaf: str | None,
    system_rows: list[MessageRow],
    newest: list[MessageRow],
) -> Context:
    """The context of a path that has some rows more, oldest first."""
    runs = messages.runs_of(conversations.find(scope, conversation_id), leaf)
    systems, others = _outline(conversation_id, runs)
    always = [*system_rows, *_rows_at(conversation_id, systems)]
    bound, limit = MAX_POSITION, FIRST_ROWS
    while True:
        page = branches.page(conversation_id, runs, upwards=False, bound=bound, limit=limit)
        found = streams.overlay(MessageRow.on_path(page[::-1]))
        newest = [*(row for row in found if row.role != SYSTEM), *newest]
        rows = sorted([*always, *newest], key=_position)
        choice = _choose(rows, max_tokens)
        if choice.is_final or len(page) < limit:
            break
        bound, limit = branches.position_in(page[-1]), limit * 2
    before = bisect_left(others, rows[choice.start].position) if rows else 0
    return Context([it.message for it in choice.told], choice.tokens, before + choice.parted)


def _choose(rows: Sequence[MessageRow], max_tokens: int) -> _Choice:
    """What is told of a path's newest rows, among all of its system messages."""
    said, unmatched = told(rows)
    tokens = [tokens_in_message(it.message) for it in said]
    is_system = [it.message["role"] == SYSTEM for it in said]
    costs = [0] * len(rows)
    for it, cost, always in zip(said, tokens, is_system, strict=True):
        if not always:
            costs[it.at] += cost
    room = max_tokens - (sum(tokens) - sum(costs))
    start = len(rows)
    while start > 0 and costs[start - 1] <= room:
        start -= 1
        room -= costs[start]
    # The newest message is there. If it is a result, so is its call, and what came in between.
    others = [it for it, always in zip(said, is_system, strict=True) if not always]
    newest = max((max(it.rows) for it in others), default=None)
    start = min([start, *(it.at for it in others if newest in it.rows)])
    while start > 0 and costs[start - 1] == 0:  # what cannot be told is not left out for its length
        start -= 1

    is_kept = [always or it.at >= start for it, always in zip(said, is_system, strict=True)]
    kept = [*compress(said, is_kept)]
    parted = {row for it in said for row in it.rows if row >= start}
    parted -= {row for it in kept for row in it.rows}
    read = [at for at, row in enumerate(rows) if row.role != SYSTEM]
    return _Choice(
        told=kept,
        tokens=sum(compress(tokens, is_kept)),
        start=start,
        parted=len(parted),
        is_final=bool(read) and start > read[0] and read[-1] not in unmatched,
    )


def _position(row: MessageRow) -> int:
    return row.position


def _outline(conversation_id: str, runs: Sequence[Run]) -> tuple[list[int], list[int]]:
    """The positions of the system messages in some runs, and those of all others, in order."""
    every = _roles(conversation_id).fetchall()
    systems: list[int] = []
    others: list[int] = []
    for run in reversed(runs):
        start = bisect_left(every, run.low, key=itemgetter(0))
        end = bisect_right(every, run.high, key=itemgetter(0))
        for position, role in every[start:end]:
            (systems if role == SYSTEM else others).append(position)
    return systems, others


def _rows_at(conversation_id: str, positions: Sequence[int]) -> list[MessageRow]:
    """The messages at some positions, in order."""
    runs = [Run(position, position) for position in reversed(positions)]
    found = branches.page(conversation_id, runs, upwards=True, bound=0, limit=len(runs))
    return streams.overlay(MessageRow.on_path(found))


@prepared
def _roles(conversation_id: Any) -> Any:
    """Where the messages of a conversation stand, and in which role. Text is passed over."""
    return (
        Message.select(Message.position, Message.role)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.position)
    )
