"""Messages: append to a conversation, find, page, edit and remove them."""

from bisect import bisect
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from . import branches, client_ids, conversations, event_log, search_index, streams
from .branches import LINE, LINKED_COLUMNS, MAX_POSITION, ROOT, Run
from .clock import AFTER_ALL_IDS, new_id
from .engine.database import snapshot, transaction
from .engine.prepared import insertion, prepared, prepared_for_list
from .errors import (
    ClientIdReused,
    ConversationNotFound,
    Invalid,
    MessageDeleted,
    MessageNotFound,
)
from .models import (
    COMPLETED,
    DELETED,
    IN_PROGRESS,
    MESSAGE,
    MESSAGE_COLUMNS,
    ClientIdRow,
    Content,
    ConversationRow,
    EventRow,
    Message,
    MessageRow,
    json_of,
    type_of,
)
from .scope import Scope
from .streams import settled

ACTIVE_LEAF = "the active leaf"  # the parent of a draft that names none
# In the metadata of a message: the first message of the answer that it belongs to, see `answers`.
ANSWER_ID = "answer_id"
ALL = "all"  # instead of the id with which a branch ends: the messages of all branches


class Draft(NamedTuple):
    """A message to be appended. `content` is text or a list of JSON parts, stored verbatim."""

    role: str
    content: Content
    status: str = COMPLETED
    metadata: dict[str, Any] | None = None
    parent_id: str | None = ACTIVE_LEAF  # None for a new root
    client_id: str | None = None
    id: str | None = None  # that it has already; for the messages of a new conversation


class MessageSlice(NamedTuple):
    """Messages, and whether there are more in the direction asked for."""

    rows: list[MessageRow]
    has_more: bool


def append(scope: Scope, conversation_id: str, drafts: Sequence[Draft]) -> list[MessageRow]:
    """The messages of `append_once`."""
    rows, _ = append_once(scope, conversation_id, drafts)
    return rows


@settled
@transaction
def append_once(
    scope: Scope, conversation_id: str, drafts: Sequence[Draft]
) -> tuple[list[MessageRow], bool]:
    """Append all of `drafts`, in order, or none. Return them, and whether they were there already.

    A draft that names no parent follows the one before it, and the first one the active leaf. The
    last one becomes the active leaf. Positions and ids are given out under the conversation's lock,
    so both grow together. If all of the drafts have client ids, and all were stored before, they
    are returned as they are now.
    Raises ConversationNotFound, Invalid for what cannot be stored, ClientIdReused, MessageDeleted.
    """
    conversation = conversations.lock(scope, conversation_id)
    created_at = conversations.later(conversation.updated_at)
    version, is_branched = conversation.version, conversation.is_branched
    leaf_id = conversation.last_message_id
    newest_id = branches.newest_id(conversation_id) if is_branched else leaf_id
    rows: list[MessageRow] = []
    for draft in drafts:
        version, id = version + 1, draft.id or new_id(after=newest_id)
        if draft.client_id is not None and not client_ids.claim(_sent(draft, conversation_id, id)):
            if rows:
                raise ClientIdReused(
                    f"The client_id {draft.client_id} is known, and that of the message before it "
                    "is not: send a batch again as it was."
                )
            return _stored_before(conversation_id, drafts), True
        parent_id = leaf_id if draft.parent_id is ACTIVE_LEAF else draft.parent_id
        parent = length = None
        if parent_id != newest_id:
            parent, is_branched = _position_of_parent(conversation_id, parent_id), True
        if draft.status == IN_PROGRESS:
            length = _length_of_text(draft.content)
            streams.open_stream(conversation_id, id, length, created_at)
        stored = MessageRow(
            id=id,
            conversation_id=conversation_id,
            role=draft.role,
            content=_encode(draft.content),
            status=draft.status,
            metadata=_encode_object(draft.metadata),
            created_at=created_at,
            updated_at=created_at,
            position=version,
            content_type=type_of(draft.content),
            revision=version,
            streamed_from=length,
            client_id=draft.client_id,
            parent=parent,
            parent_id=parent_id,
        )
        _insert(*stored[: len(MESSAGE_COLUMNS)])
        rows.append(stored)
        leaf_id = newest_id = id
    if rows:
        conversations.grow(conversation, version, rows[-1].id, is_branched)
    return MessageRow.decoded(rows), False


def _position_of_parent(conversation_id: str, parent_id: str | None) -> int:
    """What is stored for a parent that is not the message before. Raises Invalid."""
    if parent_id is None:
        return ROOT
    return require(conversation_id, parent_id, "parent_id")


def require(conversation_id: str, message_id: str, field: str) -> int:
    """The position of a message that a caller names in a field of a body. Raises Invalid."""
    found = _position(conversation_id, message_id).fetchone()
    if found is None:
        raise Invalid(f"{field} must be the id of a message of this conversation.", field)
    return int(found[0])


def _sent(draft: Draft, conversation_id: str, message_id: str) -> ClientIdRow:
    """What was sent of a draft, which is to be stored under that id."""
    return ClientIdRow(
        conversation_id=conversation_id,
        client_id=str(draft.client_id),
        message_id=message_id,
        digest=_digest_of(draft),
        parent_id=None if draft.parent_id is ACTIVE_LEAF else draft.parent_id or "",
    )


def _stored_before(conversation_id: str, drafts: Sequence[Draft]) -> list[MessageRow]:
    """The messages that the client ids of `drafts` name, if they are what is sent again."""
    rows = []
    for draft in drafts:
        first = client_ids.find(conversation_id, str(draft.client_id))
        if first is None:
            raise ClientIdReused(
                f"The client_id {draft.client_id} is not known, and that of the first message is: "
                "send a batch again as it was."
            )
        found = _by_id(conversation_id, first.message_id).fetchone()
        row = MessageRow.decoded([found])[0] if found else None
        is_same = _digest_of(draft) == first.digest
        if not is_same or (row is not None and not _is_same_parent(draft, first, row)):
            raise ClientIdReused(
                f"The client_id {draft.client_id} belongs to a message with another role, content "
                "or parent_id: make a new client_id for this one.",
                message_id=first.message_id,
            )
        if row is None:
            raise MessageDeleted(
                f"The message that was stored under the client_id {draft.client_id} has been "
                "deleted: make a new client_id to store it again.",
                message_id=first.message_id,
            )
        rows.append(row)
    return streams.overlay(rows)


def _digest_of(draft: Draft) -> str:
    return client_ids.digest_of(draft.role, type_of(draft.content), _encode(draft.content))


def _is_same_parent(draft: Draft, first: ClientIdRow, row: MessageRow) -> bool:
    if draft.parent_id is ACTIVE_LEAF:
        return first.parent_id is None
    was_sent = first.parent_id == (draft.parent_id or "")
    return was_sent or row.parent_id == draft.parent_id


@settled
@transaction
def append_beside(scope: Scope, conversation_id: str, message_id: str, draft: Draft) -> MessageRow:
    """Append another version of a message, with the same parent. It takes over its client id.

    Raises as `append_once` does, and MessageNotFound.
    """
    conversations.lock(scope, conversation_id)
    row = _stored(conversation_id, message_id)
    if row.client_id is not None:
        streams.stop(scope, conversation_id, message_id)  # its pieces go with its events
        conversation = conversations.lock(scope, conversation_id)
        version = conversation.version + 1
        conversations.advance(conversation, version, conversation.last_message_id)
        client_ids.give_up(conversation_id, row.client_id)
        event_log.forget(conversation_id, message_id)
        _forget_client_id(conversation_id, row.position, version)
        event_log.record(EventRow(conversation_id, version, MESSAGE, message_id))
    (beside,) = append(scope, conversation_id, [draft._replace(parent_id=row.parent_id)])
    return beside


def named(scope: Scope, conversation_id: str, name: str) -> MessageRow:
    """The message that a client has under a name: its client id, or else its id.

    Raises ConversationNotFound, MessageNotFound.
    """
    owner = client_ids.find(conversation_id, name)
    if owner is not None:
        with suppress(MessageNotFound):
            return find(scope, conversation_id, owner.message_id)
    return find(scope, conversation_id, name)


def is_as_sent(row: MessageRow, draft: Draft) -> bool:
    """Whether a stored message has the role and the content of a draft, or had when it was sent."""
    if (type_of(row.content), _encode(row.content)) == (
        type_of(draft.content),
        _encode(draft.content),
    ):
        return row.role == draft.role
    first = client_ids.find(row.conversation_id, row.client_id) if row.client_id else None
    return first is not None and first.digest == _digest_of(draft)


@settled
@snapshot
def find(scope: Scope, conversation_id: str, message_id: str) -> MessageRow:
    """Raises ConversationNotFound, MessageNotFound."""
    conversations.find(scope, conversation_id)
    return streams.overlay([_stored(conversation_id, message_id)])[0]


@settled
@snapshot
def page_for(
    scope: Scope,
    conversation_id: str,
    limit: int = 100,
    after: str | None = None,
    before: str | None = None,
    descending: bool = False,
    branch: str | None = None,
) -> MessageSlice:
    """A page by cursor, which is a message's id. The message may since have been deleted.

    `after` and `before` follow the order asked for. `branch` is a message's id, for the path that
    ends there, or ALL; without, it is the active branch.
    Raises ConversationNotFound, and MessageNotFound for an unknown branch.
    """
    conversation = conversations.find(scope, conversation_id)
    runs = runs_of(conversation, branch)
    linked = branch == ALL and bool(conversation.is_branched)
    # Read away from the cursor, then put the rows into the order asked for.
    upwards = bool(before) if descending else not before
    bound = _position_of(conversation, upwards, after or before)
    found = branches.page(conversation_id, runs, upwards, bound, limit + 1, linked)
    has_more, first_parent_id = len(found) > limit, None
    if not upwards:
        first_parent_id = found[limit][0] if has_more else None
    elif found and bound and not linked:
        position = branches.position_in(found[0])
        first_parent_id = branches.parent_id_at(conversation_id, position)
    found = found[:limit] if upwards else found[:limit][::-1]
    rows = MessageRow.decoded(found) if linked else MessageRow.on_path(found, first_parent_id)
    if descending:
        rows.reverse()
    return MessageSlice(streams.overlay(rows), has_more)


def conversation_of(scope: Scope, message_id: str) -> str:
    """The conversation of a message. Raises MessageNotFound if the scope does not cover it."""
    found = _conversation_of(message_id).fetchone()
    if found is not None:
        with suppress(ConversationNotFound):
            return conversations.find(scope, found[0]).id
    raise MessageNotFound(message_id)


def is_shown(scope: Scope, conversation_id: str, message_id: str) -> bool:
    """Whether a message is on the active branch."""
    runs = runs_of(conversations.find(scope, conversation_id), None)
    position = require(conversation_id, message_id, "message_id")
    return any(run.low <= position <= run.high for run in runs)


def all_in(rows: Sequence[ConversationRow]) -> dict[str, list[MessageRow]]:
    """All messages on the active branches of some conversations, oldest first, by conversation.

    It takes one query for all that are a line, one for all others, and two more if some are
    streaming. To be called under `settled`.
    """
    lines = [row.id for row in rows if not row.is_branched]
    trees = [row.id for row in rows if row.is_branched]
    found = _all_in(lines).fetchall() if lines else []
    if trees:
        found += branches.active_branches(trees)
    linked = [
        row
        for _, of_one in groupby(found, key=branches.conversation_in)
        for row in MessageRow.on_path(of_one)
    ]
    by_id: dict[str, list[MessageRow]] = {row.id: [] for row in rows}
    for row in streams.overlay(linked):
        by_id[row.conversation_id].append(row)
    return by_id


def all_on(
    conversation: ConversationRow, branch: str | None = None, settles: bool = True
) -> list[MessageRow]:
    """All messages on a branch of a conversation, as `page_for` has it, oldest first.

    To be called under `settled`, unless a branch is named and nothing is settled: see
    `streams.overlay`. Raises MessageNotFound for an unknown branch.
    """
    if branch in (None, ALL) and not conversation.is_branched:
        return streams.overlay(MessageRow.on_path(_all_in([conversation.id])), settles)
    if branch is None:
        return all_in([conversation])[conversation.id]
    if branch == ALL:
        found = branches.page(conversation.id, LINE, True, 0, MAX_POSITION, linked=True)
        return streams.overlay(MessageRow.decoded(found), settles)
    rows = MessageRow.on_path(branches.path(conversation.id, branch))
    if not rows:
        raise MessageNotFound(branch)
    return streams.overlay(rows, settles)


@settled
@transaction
def edit(scope: Scope, conversation_id: str, message_id: str, **changes: Any) -> MessageRow:
    """Set `content`, `metadata` or `status`, whether the message is streaming or not.

    Setting what is set already changes nothing: if a request is repeated, followers are told once.
    The status `in_progress` opens its stream, or opens it again, at the end of the text. Any other
    status ends it. Raises ConversationNotFound, MessageNotFound, Invalid.
    """
    conversation = conversations.lock(scope, conversation_id)
    stored = streams.overlay([_stored(conversation_id, message_id)])[0]
    row = stored._replace(**changes)
    if _written(row) == _written(stored):
        return stored
    version = conversation.version + 1
    conversation = conversations.advance(conversation, version, conversation.last_message_id)
    streams.close_stream(conversation_id, message_id)
    event_log.forget(conversation_id, message_id)
    length = None
    if row.status == IN_PROGRESS:
        length = _length_of_text(row.content)
        streams.open_stream(conversation_id, message_id, length, conversation.updated_at)
    row = row._replace(
        updated_at=conversation.updated_at,
        content_type=type_of(row.content),
        revision=version,
        streamed_from=length,
    )
    _update(
        conversation_id, row.position, _encode(row.content), row.content_type, row.status,
        _encode_object(row.metadata), row.updated_at, row.revision, row.streamed_from,
    )  # fmt: skip
    event_log.record(EventRow(conversation_id, version, MESSAGE, message_id))
    _point_out_leaf(conversation)
    return row


@transaction
def remove(scope: Scope, conversation_id: str, message_id: str) -> ConversationRow:
    """Delete a message, whether it is streaming or not. Its children take its parent.

    Returns the conversation as it is then. If the message was the active leaf, its parent becomes
    it, and for a root the newest message that is left.
    Raises ConversationNotFound, MessageNotFound, Held.
    """
    conversation = conversations.lock(scope, conversation_id)
    conversations.refuse_held(conversation)
    row = _stored(conversation_id, message_id)
    streams.close_stream(conversation_id, message_id)
    event_log.forget(conversation_id, message_id)
    if conversation.is_branched:
        branches.unlink(row)
    _delete(conversation_id, row.position)
    search_index.forget(message_id)
    leaf_id = conversation.last_message_id
    if leaf_id == message_id:
        leaf_id = row.parent_id or branches.newest_id(conversation_id)
    version = conversation.version + 1
    conversation = conversations.advance(conversation, version, leaf_id)
    event_log.record(
        EventRow(conversation_id, version, DELETED, message_id, parent_id=row.parent_id)
    )
    return _point_out_leaf(conversation)


def _point_out_leaf(conversation: ConversationRow) -> ConversationRow:
    """Tell followers of the active leaf again, if they could not know it.

    They take the message with the greatest id that they were told of for the leaf, unless they were
    told of another one since. An edited message is told of anew, and a deleted one no more. So if
    the leaf is not the newest message, it is the last thing that they are told.
    """
    if conversation.is_branched:
        leaf_id = conversation.last_message_id
        if leaf_id != branches.newest_id(conversation.id):
            conversation = conversations.advance(conversation, conversation.version + 1, leaf_id)
            conversations.tell(conversation)
    return conversation


def runs_of(conversation: ConversationRow, branch: str | None) -> list[Run]:
    """The runs of a branch, as `page_for` has it, newest first. Raises MessageNotFound."""
    if branch == ALL:
        return LINE
    if branch is None:
        if not conversation.is_branched:
            return LINE
        branch = conversation.last_message_id
        return branches.runs_to(conversation.id, branch) if branch else []
    runs = branches.runs_to(conversation.id, branch)
    if not runs:
        raise MessageNotFound(branch)
    return runs


def _stored(conversation_id: str, message_id: str) -> MessageRow:
    """The row itself, without what has streamed in since. Raises MessageNotFound."""
    row = _by_id(conversation_id, message_id).fetchone()
    if row is None:
        raise MessageNotFound(message_id)
    return MessageRow.decoded([row])[0]


def store(rows: Sequence[MessageRow]) -> None:
    """Insert rows as they are, for a verb that makes a conversation of messages that there are."""
    for row in rows:
        stored = row._replace(content=_encode(row.content), metadata=_encode_object(row.metadata))
        _insert(*stored[: len(MESSAGE_COLUMNS)])


def _written(row: MessageRow) -> tuple[object, ...]:
    """What an edit may change, as stored. (Python takes `[1]` and `[true]` for equal.)"""
    content_type = type_of(row.content)
    return content_type, _encode(row.content), _encode_object(row.metadata), row.status


def _encode(content: Content) -> str:
    return content if isinstance(content, str) else _json(content, "content")


def _encode_object(metadata: dict[str, Any] | None) -> Any:
    return _json(metadata, "metadata")


def _json(value: Any, field: str) -> Any:
    try:
        return json_of(value)
    except ValueError:
        raise Invalid(f"A number in {field} is too large for JSON.", field) from None


def _length_of_text(content: Content) -> int:
    if not isinstance(content, str):
        raise Invalid("Only text can be in_progress: send content as a string.", "content")
    return len(content)


def _position_of(conversation: ConversationRow, upwards: bool, cursor: str | None) -> int:
    """The position behind which a page begins.

    Ids grow with positions, so a cursor whose message is gone still has its place: between its
    neighbours.
    """
    if cursor is None:
        return 0 if upwards else MAX_POSITION
    found = _position(conversation.id, cursor).fetchone()
    if found is not None:
        return int(found[0])
    positions = range(1, conversation.version + 1)
    older = bisect(positions, cursor, key=lambda position: _id_from(conversation.id, position))
    return older if upwards else older + 1


def _id_from(conversation_id: str, position: int) -> str:
    """The id of the first message from a position on, or what is greater than any id."""
    found = _first_from(conversation_id, position).fetchone()
    return str(found[0]) if found else AFTER_ALL_IDS


@prepared
def _forget_client_id(conversation_id: Any, position: Any, revision: Any) -> Any:
    """A message without its client id. Followers are told of it anew, as a whole."""
    return Message.update(client_id=None, revision=revision, streamed_from=None).where(
        Message.conversation_id == conversation_id, Message.position == position
    )


_insert = insertion(Message, [column.name for column in MESSAGE_COLUMNS])


@prepared
def _by_id(conversation_id: Any, id: Any) -> Any:
    """One message, with its parent's id."""
    return Message.select(*LINKED_COLUMNS).where(
        Message.conversation_id == conversation_id, Message.id == id
    )


@prepared_for_list
def _all_in(conversation_ids: Any) -> Any:
    """All messages of some conversations, those of each together and oldest first."""
    return (
        Message.select(*MESSAGE_COLUMNS)
        .where(Message.conversation_id.in_(conversation_ids))
        .order_by(Message.conversation_id, Message.position)
    )


@prepared
def _conversation_of(id: Any) -> Any:
    """Where a message is."""
    return Message.select(Message.conversation_id).where(Message.id == id)


@prepared
def _position(conversation_id: Any, id: Any) -> Any:
    """Where a message stands."""
    return Message.select(Message.position).where(
        Message.conversation_id == conversation_id, Message.id == id
    )


@prepared
def _first_from(conversation_id: Any, position: Any) -> Any:
    """The first message from a position on."""
    return (
        Message.select(Message.id)
        .where(Message.conversation_id == conversation_id, Message.position >= position)
        .order_by(Message.position)
        .limit(1)
    )


@prepared
def _update(
    conversation_id: Any, position: Any, content: Any, content_type: Any, status: Any,
    metadata: Any, updated_at: Any, revision: Any, streamed_from: Any,
) -> Any:  # fmt: skip
    """All that an edit may change in a message."""
    return Message.update(
        content=content, content_type=content_type, status=status, metadata=metadata,
        updated_at=updated_at, revision=revision, streamed_from=streamed_from,
    ).where(Message.conversation_id == conversation_id, Message.position == position)  # fmt: skip


@prepared
def _delete(conversation_id: Any, position: Any) -> Any:
    """One message."""
    return Message.delete().where(
        Message.conversation_id == conversation_id, Message.position == position
    )
