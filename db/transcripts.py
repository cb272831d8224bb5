"""Transcripts: conversations together with their messages."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from . import conversations, lists, messages
from .clock import new_id
from .conversations import FORKED_FROM, IMPORT, IfMatch
from .engine.database import snapshot, transaction
from .errors import ConversationNotFound, KeyTaken
from .lists import CREATED, EVERY, Filter
from .messages import ANSWER_ID, Draft
from .models import (
    IN_PROGRESS,
    INCOMPLETE,
    ConversationRow,
    MessageRow,
)
from .scope import Scope
from .streams import settled


class Transcript(NamedTuple):
    """A conversation with its messages, oldest first."""

    conversation: ConversationRow
    messages: list[MessageRow]


class TranscriptSlice(NamedTuple):
    """Transcripts, newest first, and whether there are more behind them."""

    rows: list[Transcript]
    has_more: bool


def start(scope: Scope, project_id: str, drafts: Sequence[Draft] = (), **fields: Any) -> Transcript:
    """`conversations.start`, and its first messages: all or nothing."""
    if not drafts:
        return Transcript(conversations.start(scope, project_id, **fields), [])
    return _start_with(scope, project_id, drafts, fields)


@transaction
def _start_with(
    scope: Scope, project_id: str, drafts: Sequence[Draft], fields: dict[str, Any]
) -> Transcript:
    row = conversations.start(scope, project_id, **fields)
    rows = messages.append(scope, row.id, drafts)
    row = conversations.find(scope, row.id)
    return Transcript(row, messages.all_on(row) if row.is_branched else rows)


def find_or_start(
    scope: Scope, project_id: str, key: str, drafts: Sequence[Draft] = (), **fields: Any
) -> tuple[Transcript, bool]:
    """The transcript that the scope's user has under a key, and whether it is new.

    It is made if there is none, and the key decides: of several that ask at once, one makes it.
    """
    while True:
        try:
            return start(scope, project_id, drafts, key=key, **fields), True
        except KeyTaken as taken:
            holder = taken.conversation_id
        try:
            return read(scope, holder), False
        except ConversationNotFound:
            continue  # it was deleted meanwhile, so the key is free


@transaction
def append_or_start(
    scope: Scope, project_id: str, conversation_id: str, drafts: Sequence[Draft]
) -> tuple[list[MessageRow], bool]:
    """`messages.append_once`, to a conversation that is made under that id if there is none.

    Raises ConversationNotFound if it is there and not in this scope.
    """
    try:
        return messages.append_once(scope, conversation_id, drafts)
    except ConversationNotFound:
        with suppress(ConversationNotFound):  # somebody has made it meanwhile
            conversations.start(scope, project_id, id=conversation_id)
        return messages.append_once(scope, conversation_id, drafts)


@settled
@snapshot
def read(
    scope: Scope, conversation_id: str, with_messages: bool = True, branch: str | None = None
) -> Transcript:
    """A conversation with the messages of its active branch, or of another one.

    `branch` is as in `messages.page_for`. Raises ConversationNotFound, MessageNotFound.
    """
    conversation = conversations.find(scope, conversation_id)
    return Transcript(conversation, messages.all_on(conversation, branch) if with_messages else [])


@settled
@transaction
def change(
    scope: Scope, conversation_id: str, if_match: IfMatch | None = None, **changes: Any
) -> Transcript:
    """`conversations.change`, and the messages as they are then.

    `last_message_id` makes this message the active leaf. Raises Invalid if there is no such one.
    """
    if "last_message_id" in changes:
        row = conversations.lock(scope, conversation_id)
        leaf_id = changes["last_message_id"]
        messages.require(conversation_id, leaf_id, "last_message_id")
        changes["is_branched"] = row.is_branched or leaf_id != row.last_message_id
    row = conversations.change(scope, conversation_id, if_match, **changes)
    return Transcript(row, messages.all_on(row))


@settled
@snapshot
def newest(
    scope: Scope,
    project_id: str | None = None,
    which: Filter = EVERY,
    sort: str = CREATED,
    *,
    limit: int = 100,
    skip: int = 0,
    after: str | None = None,
    before: str | None = None,
    with_messages: bool = True,
) -> TranscriptSlice:
    """A page of `lists`, by the number of rows to skip or by cursor.

    It takes three queries at most, whatever its size, one more for conversations with branches, and
    two more while somebody streams.
    """
    if after or before:
        page = lists.page_for(scope, project_id, which, sort, limit, after, before)
    else:
        page = lists.newest(scope, project_id, which, sort, skip, limit)
    found = messages.all_in(page.rows) if with_messages else {}
    rows = [Transcript(row, found.get(row.id, [])) for row in page.rows]
    return TranscriptSlice(rows, page.has_more)


@settled
@transaction
def fork(
    scope: Scope,
    conversation_id: str,
    message_id: str | None = None,
    title: str | None = None,
    key: str | None = None,
) -> Transcript:
    """A new conversation with copies of the messages up to one, by default the active leaf.

    It has the origin's title unless there is another one, its user, tags and metadata, and in the
    metadata where it comes from. The copies keep their times. What is being written is copied as
    `incomplete`. Raises ConversationNotFound, MessageNotFound, KeyTaken.
    """
    origin = conversations.lock(scope, conversation_id)
    path = messages.all_on(origin, message_id)
    forked_from = {"conversation_id": origin.id, "message_id": path[-1].id if path else None}
    # A fork was not imported, and what an import says of the origin may be large.
    metadata = {name: it for name, it in (origin.metadata or {}).items() if name != IMPORT}
    fork = conversations.start(
        Scope(origin.project_id, origin.user_id),
        origin.project_id,
        title or origin.title,
        key=key,
        tags=origin.tags,
        metadata={**metadata, FORKED_FROM: forked_from},
    )
    copies: list[MessageRow] = []
    ids = {row.id: new_id() for row in path}
    for position, row in enumerate(path, start=1):
        id = ids[row.id]
        copies.append(
            row._replace(
                id=id,
                conversation_id=fork.id,
                status=INCOMPLETE if row.status == IN_PROGRESS else row.status,
                position=position,
                revision=position,
                streamed_from=None,
                client_id=None,
                metadata=_of_copy(row.metadata, ids),
                parent=None,
                parent_id=copies[-1].id if copies else None,
            )
        )
    if not copies:
        return Transcript(fork, [])
    messages.store(copies)
    return Transcript(conversations.grow(fork, len(copies), copies[-1].id, False), copies)


def _of_copy(metadata: dict[str, Any] | None, ids: dict[str, str]) -> dict[str, Any] | None:
    """The metadata of a copied message, which may belong to an answer that is copied, too."""
    answer_id = (metadata or {}).get(ANSWER_ID)
    if not isinstance(answer_id, str) or answer_id not in ids:
        return metadata
    return {**(metadata or {}), ANSWER_ID: ids[answer_id]}
