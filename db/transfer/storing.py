"""Imported conversations in the store: made, grown, overwritten, restored, or left as they are.

A row of `imported` says which conversation was made of which one of an export. If the export tells
the same of it as last time, no message of it is read.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .. import conversations, tombstones, trash
from ..branches import ROOT
from ..clock import moment_of
from ..conversations import IMPORT
from ..engine.database import MISTAKES, database, query, snapshot, transaction
from ..engine.prepared import insertion, prepared, prepared_for_list
from ..errors import StoreError
from ..models import (
    CONVERSATION_COLUMNS,
    Conversation,
    ConversationRow,
    Imported,
    ImportedRow,
    Message,
    MessageRow,
)
from ..scope import EVERYTHING, Scope
from .arrivals import (
    CHANGED,
    CREATED,
    DELETED_HERE,
    RESTORED,
    STRANGE,
    UNCHANGED,
    Arrival,
    Options,
    Result,
    claim,
)
from .growing import bring_up_to_date
from .imported_ids import imported_id, is_in_future, own_id, tail_of
from .parsed import Owner, Parsed, Unreadable
from .rows import values_of
from .values import json_text

MAX_TITLE = 255
MAX_TAGS = 16


# What a conversation raises that cannot be stored: it, and no other one, is to blame.
BAD = (Unreadable, *STRANGE, *MISTAKES)

# The source's id of a conversation, and what became of it, or why it was not stored.
Outcome = tuple[str, Result | str]
Store = Callable[[Iterable[Arrival], Options], list[Result]]


class Known(NamedTuple):
    """What was imported before."""

    sha256: str
    is_there: bool  # it was not deleted here


@query
def known(owner: Owner, sources: Sequence[str]) -> dict[str, Known]:
    """Those of the sources that were imported before."""
    found = _known(*owner, sources).fetchall()
    return {source: Known(sha256, kept is not None) for source, sha256, kept in found}


def store_each(arrivals: Sequence[Arrival], options: Options) -> list[Outcome]:
    """Store them, or say what it would do, for options of a dry run. All in one transaction.

    If one of them is bad, each has its own.
    """
    verb = look if options.is_dry else store
    try:
        return [*zip((it.id for it in arrivals), verb(arrivals, options), strict=True)]
    except BAD:
        return [(it.id, _result_alone(it, options, verb)) for it in arrivals]


def _result_alone(arrival: Arrival, options: Options, verb: Store) -> Result | str:
    try:
        return verb([arrival], options)[0]
    except BAD as error:
        return " ".join(str(error).split())


@transaction
def store(arrivals: Iterable[Arrival], options: Options) -> list[Result]:
    """Store them all, or nothing. Raises Unreadable if one of them cannot be stored."""
    return [_store(arrival, options) for arrival in arrivals]


@snapshot
def look(arrivals: Iterable[Arrival], options: Options) -> list[Result]:
    """What `store` would do, for options of a dry run."""
    return [_store(arrival, options) for arrival in arrivals]


def _store(arrival: Arrival, options: Options) -> Result:
    try:
        return _store_one(arrival, options)
    except StoreError as error:
        raise Unreadable(str(error)) from None


def _store_one(arrival: Arrival, options: Options) -> Result:
    owner = arrival.owner
    before = _imported(*owner, arrival.source).fetchone()
    is_same = before is not None and before[1] == arrival.sha256 and not options.compares_all
    own = own_id(arrival.id)
    derived = imported_id(arrival.tree.created, tail_of(arrival.format, *owner, arrival.id))
    id = before[0] if before else own or derived
    found = _by_id(id).fetchone()
    if before is None and own is not None:
        # It came from here, or from another Confab. Its ids are kept if they are free.
        is_others = found is not None and Owner(found[1], found[2] or "") != owner
        is_kept = arrival.parsed.is_exact and not is_in_future(own)
        if is_others or (found is None and not is_kept):
            id = derived
            found = _by_id(id).fetchone()
    if found is None:
        if before is not None and not options.restore:
            return Result([DELETED_HERE])
        return _create(arrival, id, id == own, options)
    if is_same and found[-1] is None:  # twice in one file
        return Result([UNCHANGED])
    is_in_trash = found[-1] is not None
    if is_in_trash and not options.restore:
        return Result([DELETED_HERE])
    if is_in_trash and not options.is_dry:
        trash.restore(EVERYTHING, id)
    row = ConversationRow.decoded(found[:-1])
    result = bring_up_to_date(arrival, row, id == own, options)
    if CHANGED not in result.words and not options.is_dry:
        # Else it is compared again next time, and an --update still finds it.
        _note(arrival, id)
    if is_in_trash:
        result.words = [RESTORED, *(it for it in result.words if it not in (RESTORED, UNCHANGED))]
    return result


# --- A new one


def _create(arrival: Arrival, id: str, is_own: bool, options: Options) -> Result:
    parsed, tree = arrival.parsed, arrival.tree
    first = tombstones.first_version(id)
    rows = _rows(arrival, id, first, is_own)
    last = first + len(rows)
    result = Result([CREATED], len(rows), tree.branches)
    if options.is_dry:
        return result
    ids = {placed.id: row.id for placed, row in zip(tree.messages, rows, strict=True)}
    leaf_id = ids[tree.leaf] if tree.leaf is not None else None
    newest_id = rows[-1].id if rows else None
    # A follower takes the newest message for the active leaf, unless it is told otherwise.
    version = last + (leaf_id != newest_id)
    created_at = moment_of(tree.created)
    title, metadata = _title_and_metadata(arrival)
    owner = Scope(arrival.owner.project_id, arrival.owner.user_id or None)
    key = parsed.key
    if key and conversations.by_key(owner, arrival.owner.project_id, key) is not None:
        key = None
    row = ConversationRow(
        id=id,
        project_id=arrival.owner.project_id,
        user_id=owner.user_id,
        title=title,
        is_archived=parsed.is_archived,
        created_at=created_at,
        updated_at=max(created_at, moment_of(arrival.updated)),
        last_message_id=leaf_id,
        version=version,
        key=key,
        is_pinned=parsed.is_pinned,
        is_held=parsed.is_held,
        tags=parsed.tags[:MAX_TAGS] or None,
        metadata=metadata,
        activity=newest_id or id,
        is_branched=leaf_id != newest_id or any(row.parent is not None for row in rows),
    )
    if not conversations.store(row):
        raise Unreadable("its id or key is taken")
    database.obj.load(Message, [values_of(row) for row in rows])
    if version > last:
        conversations.tell(row)
    for message in rows:
        if message.client_id is not None:
            claim(message)
    _note(arrival, id)
    return result


def _rows(arrival: Arrival, conversation_id: str, first: int, is_own: bool) -> list[MessageRow]:
    """The messages of a new conversation, behind its first version. Their JSON is text."""
    rows: list[MessageRow] = []
    positions: dict[str | None, int] = {None: ROOT}
    newest_id, newest = "", None
    for position, placed in enumerate(arrival.tree.messages, start=first + 1):
        row = arrival.row(placed, conversation_id, position, newest_id, is_own)
        if placed.parent != newest:
            row = row._replace(parent=positions[placed.parent])
        positions[placed.id] = position
        newest_id, newest = row.id, placed.id
        rows.append(row)
    return rows


def changes_title(parsed: Parsed) -> bool:
    """Whether a title is too long, or blank."""
    title = parsed.title
    return isinstance(title, str) and (len(title) > MAX_TITLE or not title.strip())


def _title_and_metadata(arrival: Arrival) -> tuple[str | None, dict[str, Any] | None]:
    """As they are stored. Raises Unreadable if the metadata cannot be.

    See `changes_title`, which tells of a title that is not stored as it is.
    """
    parsed = arrival.parsed
    if parsed.is_exact:
        metadata = json.loads(json_text(parsed.metadata))
        return parsed.title and parsed.title[:MAX_TITLE], metadata
    rest = parsed.rest
    title = parsed.title.strip() if isinstance(parsed.title, str) else ""
    if len(title) > MAX_TITLE:
        title, rest = title[:MAX_TITLE].rstrip(), {**rest, "title": title}
    note = {**rest, "format": arrival.format, "id": arrival.id}
    return title or None, json.loads(json_text({**(parsed.metadata or {}), IMPORT: note}))


def _note(arrival: Arrival, conversation_id: str) -> None:
    row = ImportedRow(*arrival.owner, arrival.source, conversation_id, arrival.sha256)
    if _insert(*row).rowcount == 0:
        _update(*arrival.owner, arrival.source, conversation_id, arrival.sha256)


# --- Queries

_insert = insertion(Imported, ImportedRow._fields, unless_taken=True)


@prepared
def _update(project_id: Any, user_id: Any, source: Any, conversation_id: Any, sha256: Any) -> Any:
    """How a conversation of an export was the last time."""
    return Imported.update(conversation_id=conversation_id, sha256=sha256).where(
        Imported.project_id == project_id, Imported.user_id == user_id, Imported.source == source
    )


@prepared_for_list
def _known(project_id: Any, user_id: Any, sources: Any) -> Any:
    """Those of some sources that were imported, and whether they are still there."""
    return (
        Imported.select(Imported.source, Imported.sha256, Conversation.id)
        .join(
            Conversation,
            "LEFT OUTER JOIN",
            on=(Conversation.id == Imported.conversation_id) & Conversation.deleted_at.is_null(),
        )
        .where(
            Imported.project_id == project_id,
            Imported.user_id == user_id,
            Imported.source.in_(sources),
        )
    )


@prepared
def _imported(project_id: Any, user_id: Any, source: Any) -> Any:
    """The conversation that was made of one, and how that was then."""
    return Imported.select(Imported.conversation_id, Imported.sha256).where(
        Imported.project_id == project_id, Imported.user_id == user_id, Imported.source == source
    )


@prepared
def _by_id(id: Any) -> Any:
    """One conversation, in the trash or not."""
    return Conversation.select(*CONVERSATION_COLUMNS, Conversation.deleted_at).where(
        Conversation.id == id
    )
