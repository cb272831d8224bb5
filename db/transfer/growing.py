"""A conversation that was imported before, and of which the export tells something else now.

What is here stays as it is, but for what the options say. What is new at the source is appended.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import branches, conversations, messages, streams
from ..branches import LINE, MAX_POSITION, ROOT
from ..clock import moment_of
from ..engine.database import database
from ..engine.prepared import prepared
from ..models import DELETED, ConversationRow, Event, Item, Message, MessageRow
from ..scope import EVERYTHING
from .arrivals import (
    CHANGED,
    EXTENDED,
    RESTORED,
    UNCHANGED,
    UPDATED,
    Arrival,
    Options,
    Result,
    claim,
)
from .imported_ids import tail_in
from .parsed import plain, without
from .restoring import nearest, restore_messages
from .rows import values_of
from .tree import Placed


class Differences(NamedTuple):
    """Messages of the source: with others here, with none, and with none any more."""

    changed: list[tuple[MessageRow, Placed]]
    new: list[Placed]
    deleted: list[tuple[str, Placed]]  # with the id that it had

    def words(self, options: Options) -> list[str]:
        """What becomes of the conversation."""
        found = (
            (RESTORED, self.deleted and options.restore),
            (UPDATED if options.update else CHANGED, self.changed),
            (EXTENDED, self.new),
        )
        return [word for word, is_so in found if is_so] or [UNCHANGED]


def bring_up_to_date(
    arrival: Arrival, conversation: ConversationRow, is_own: bool, options: Options
) -> Result:
    """Compare the messages by their tails, and write what the options allow."""
    if not options.is_dry:
        conversation = conversations.lock(EVERYTHING, conversation.id)
    here = _all_in(conversation.id)
    by_tail = {tail_in(row.id): row for row in here}
    deleted = {tail_in(id): id for (id,) in _deleted(conversation.id)}
    known = by_tail.keys() | deleted.keys()
    tails = {it.id: arrival.tail(it.id, is_own, known) for it in arrival.tree.messages}
    found = _differences(arrival.tree.messages, tails, by_tail, deleted)
    parents = {
        tails[placed.id]: None if placed.parent is None else tails[placed.parent]
        for placed in arrival.tree.messages
    }
    restored = len(found.deleted) if options.restore else 0
    result = Result(
        found.words(options),
        restored + len(found.new),
        _new_branches(found, options, tails, here, parents),
        len(found.deleted) - restored,
    )
    if options.is_dry:
        return result
    leaf = None if arrival.tree.leaf is None else tails[arrival.tree.leaf]
    if restored:
        rows = [
            arrival.row(placed, conversation.id, 0, "", is_own)._replace(id=id)
            for id, placed in found.deleted
        ]
        # Followers are told of moved messages anew, as a whole. So none is being written any more.
        streams.stop(EVERYTHING, conversation.id)
        conversation = conversations.lock(EVERYTHING, conversation.id)
        restore_messages(conversation, _all_in(conversation.id), rows, parents, leaf)
        conversation = conversations.find(EVERYTHING, conversation.id)
        here = _all_in(conversation.id)
    if found.new:
        greatest = max([row.id for row in here[-1:]] + [*deleted.values()], default="")
        _extend(arrival, conversation, here, greatest, found.new, tails, parents, leaf, is_own)
    if options.update:
        for row, placed in found.changed:
            messages.edit(
                EVERYTHING, conversation.id, row.id, content=placed.decoded_content,
                status=placed.status, metadata=placed.decoded_metadata,
            )  # fmt: skip
    return result


def _differences(
    messages: list[Placed],
    tails: Mapping[str, int],
    by_tail: Mapping[int, MessageRow],
    deleted: Mapping[int, str],
) -> Differences:
    found = Differences([], [], [])
    for placed in messages:
        tail = tails[placed.id]
        if (row := by_tail.get(tail)) is not None:
            if not _is_same(row, placed):
                found.changed.append((row, placed))
        elif tail in deleted:
            found.deleted.append((deleted[tail], placed))
        else:
            found.new.append(placed)
    return found


def _new_branches(
    found: Differences,
    options: Options,
    tails: Mapping[str, int],
    here: list[MessageRow],
    parents: Mapping[int, int | None],
) -> int:
    """How many leaves more there will be than there are."""
    tree = {tail_in(row.id): row.parent_id and tail_in(row.parent_id) for row in here}
    before = _leaves(tree)
    restored = [placed for _, placed in found.deleted] if options.restore else []
    come = {tails[placed.id] for placed in (*restored, *found.new)}
    places = {tail: tail for tail in tree.keys() | come}
    moved = come | (tree.keys() & parents.keys() if restored else set())
    tree |= {tail: nearest(parents[tail], parents, places) for tail in moved}
    return max(0, _leaves(tree) - before)


def _leaves(tree: Mapping[int, int | str | None]) -> int:
    return len(tree) - len(set(tree.values()) - {None})


def _all_in(conversation_id: str) -> list[MessageRow]:
    found = branches.page(conversation_id, LINE, True, 0, MAX_POSITION, linked=True)
    return streams.overlay(MessageRow.decoded(found), settles=False)


def _is_same(row: MessageRow, placed: Placed) -> bool:
    """Whether a message says here what it says at the source."""
    if row.role != placed.role:
        return False
    ours, theirs = row.content, placed.decoded_content
    if isinstance(ours, list) and isinstance(theirs, list):
        if isinstance(ours, Item):  # its id is that of the message, wherever it comes from
            ours, theirs = ([without(it, "id") for it in one] for one in (ours, theirs))
        return ours == theirs
    return _text(ours) == _text(theirs)


def _text(content: Any) -> Any:
    return content if isinstance(content, str) else plain(content)


def _extend(
    arrival: Arrival,
    conversation: ConversationRow,
    here: list[MessageRow],
    greatest: str,
    new: list[Placed],
    tails: Mapping[str, int],
    parents: Mapping[int, int | None],
    leaf: int | None,
    is_own: bool,
) -> None:
    """Append messages. Each hangs from the nearest of its ancestors that is there.

    Their ids are greater than the `greatest` one that there was, so that what was deleted keeps
    its place.
    """
    newest_id, newest_position = greatest, here[-1].position if here else ROOT
    position, is_branched = conversation.version, bool(conversation.is_branched)
    places = {tail_in(row.id): (row.position, row.id) for row in here}
    rows: list[MessageRow] = []
    for placed in new:
        position += 1
        row = arrival.row(placed, conversation.id, position, newest_id, is_own)
        tail = tails[placed.id]
        parent = nearest(parents[tail], parents, places)
        at = ROOT if parent is None else parent[0]
        if at != newest_position:
            row, is_branched = row._replace(parent=at), True
        newest_id, newest_position = row.id, position
        places[tail] = position, row.id
        rows.append(row)
    database.obj.load(Message, [values_of(row) for row in rows])
    for row in rows:
        if row.client_id is not None:
            claim(row)
    leaf_id = conversation.last_message_id
    if leaf_id is None or tail_in(leaf_id) in parents:  # nobody has gone on here
        found = nearest(leaf, parents, places)
        leaf_id = newest_id if found is None else found[1]
    is_told = leaf_id != newest_id
    updated = max(conversation.updated_at, moment_of(arrival.updated))
    grown = conversations.grow(
        conversation, position + is_told, newest_id, is_branched or is_told, leaf_id, updated
    )
    if is_told:
        conversations.tell(grown)


@prepared
def _deleted(conversation_id: Any) -> Any:
    """The messages of a conversation that were deleted here."""
    return Event.select(Event.message_id).where(
        Event.conversation_id == conversation_id, Event.kind == DELETED
    )
