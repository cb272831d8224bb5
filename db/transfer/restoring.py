"""Messages that were deleted here and come back: in their old places, with their children.

Ids grow with positions, so a message's id says where it stood, and nobody has taken its place.
"""

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from .. import conversations, event_log
from ..branches import MAX_POSITION, ROOT
from ..engine.database import database
from ..engine.prepared import prepared
from ..models import DELETED, MESSAGE, ConversationRow, Event, EventRow, Message, MessageRow
from .imported_ids import id_after, tail_in
from .rows import values_of

AT_THE_END = MAX_POSITION
T = TypeVar("T")


def restore_messages(
    conversation: ConversationRow,
    here: Sequence[MessageRow],
    gone: Sequence[MessageRow],
    parents: Mapping[int, int | None],
    leaf: int | None,
) -> None:
    """Put the `gone` messages back among those that are `here`, in the locked conversation.

    Messages and parents are told by their tails. The active leaf becomes `leaf`, unless somebody
    has gone on here.
    """
    merged = _in_their_places(here, gone)
    ids: dict[int, str] = {}  # of those so far, since parents stand before their children
    positions: dict[str, int] = {}
    restored = {row.id for row in merged} - {row.id for row in here}
    # Whose children a deletion has moved there. It is told no more, so these are told themselves.
    moved_to = {parent_id for (parent_id,) in _parents_of_deleted(conversation.id)}
    version, newest_id = conversation.version, None
    told: list[MessageRow] = []
    for row in merged:
        parent_id = row.parent_id
        if (tail := tail_in(row.id)) in parents:
            parent_id = nearest(parents[tail], parents, ids)
        is_next = parent_id == newest_id
        parent = None if is_next else positions[parent_id] if parent_id else ROOT
        is_moved = tail not in parents and row.parent_id in moved_to
        is_new = row.id in restored or parent_id != row.parent_id or is_moved
        if row.position == AT_THE_END:
            row = row._replace(position=version + 1)  # noqa: PLW2901
        ids[tail], positions[row.id] = row.id, row.position
        if is_new or parent != row.parent:
            version += is_new
            revision = version if is_new else row.revision
            moved = row._replace(parent=parent, parent_id=parent_id, revision=revision)
            if is_new:
                moved = moved._replace(streamed_from=None)
                event_log.forget(conversation.id, row.id)
                event_log.record(EventRow(conversation.id, version, MESSAGE, row.id))
            told.append(moved)
        newest_id = row.id
    for row in told:
        if row.id not in restored:
            _link(conversation.id, row.position, row.parent, row.revision, row.streamed_from)
    database.obj.load(Message, [values_of(row) for row in told if row.id in restored])
    leaf_id = conversation.last_message_id
    if leaf_id is None or tail_in(leaf_id) in parents:
        leaf_id = nearest(leaf, parents, ids) or newest_id
    is_branched = bool(conversation.is_branched) or any(row.parent is not None for row in told)
    is_branched = is_branched or leaf_id != newest_id
    version += 1
    conversations.tell(
        conversations.grow(
            conversation, version, str(newest_id), is_branched, leaf_id, conversation.updated_at
        )
    )


def _in_their_places(here: Sequence[MessageRow], gone: Sequence[MessageRow]) -> list[MessageRow]:
    """All of them by position. Each that comes back stands right behind the next older one.

    If there is no place, since somebody's clock was behind, it comes to the end.
    """
    merged = sorted(here, key=lambda row: row.position)
    homeless: list[MessageRow] = []
    for row in sorted(gone, key=lambda row: row.id):
        at = bisect(merged, row.id, key=lambda row: row.id)
        position = merged[at - 1].position + 1 if at else 1
        if at < len(merged) and merged[at].position == position:
            homeless.append(row)
        else:
            merged.insert(at, row._replace(position=position))
    for row in homeless:
        id = id_after(merged[-1].id, row.id)
        merged.append(row._replace(id=id, position=AT_THE_END))
    return merged


def nearest(
    tail: int | None, parents: Mapping[int, int | None], places: Mapping[int, T]
) -> T | None:
    """The place of a message, or of the nearest of its ancestors, that is there."""
    while tail is not None and tail not in places:
        tail = parents[tail]
    return None if tail is None else places[tail]


@prepared
def _parents_of_deleted(conversation_id: Any) -> Any:
    """The parents that the messages had which were deleted."""
    return Event.select(Event.parent_id).where(
        Event.conversation_id == conversation_id, Event.kind == DELETED
    )


@prepared
def _link(
    conversation_id: Any, position: Any, parent: Any, revision: Any, streamed_from: Any
) -> Any:
    """The parent of a message, and how it is told."""
    return Message.update(parent=parent, revision=revision, streamed_from=streamed_from).where(
        Message.conversation_id == conversation_id, Message.position == position
    )
