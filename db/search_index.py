"""The search index: which texts it has, and how it follows what changes.

An append does not touch it. Its own transaction would pay 80 µs and 35 KB of log for the index, and
in a batch of a hundred it pays 45 µs and 6 KB. So the index follows the feed of changes, in
batches, and `search` looks through what is behind. `SearchProgress` is the place in the feed up to
which it has everything; what has changed behind that place has it up to its `indexed_version`.
Every change of a conversation notes this version, in the row that it writes anyway.

Whoever writes brings the index up to date, after the write: after 100 writes or a second, up to 200
messages at a time. What is deleted leaves the index in the same transaction. What is edited is
found under its old words as well until the next batch, so `search` compares all that it finds.
"""

import random
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

from peewee import CTE, JOIN, SQL, Select, Tuple, ValuesList, fn

from .change_numbers import is_settled
from .engine import full_text
from .engine.chores import Chore
from .engine.database import database, query, transaction
from .engine.prepared import insertion, prepared, prepared_for_list
from .models import (
    CONVERSATION,
    DONE,
    IN_PROGRESS,
    MESSAGE,
    Content,
    Conversation,
    Event,
    Message,
    SearchDocument,
    SearchProgress,
    decode_content,
)
from .terms import has_runs, terms_of

BATCH_MESSAGES = 200  # that one write brings into the index
BATCH_CODE_POINTS = 1_000_000  # or so much text
BATCH_CONVERSATIONS = 200  # that it looks at
MERGED_PAGES = 500  # of the index, written anew by one transaction: 10 ms
WRITES = 100  # of a process, after which it looks
SECONDS = 1.0  # after which it looks in any case

# A document's number is its id's first bits: 44 of the time in milliseconds, up to the year 2527,
# and 19 that follow. Documents of one millisecond have the numbers of one block.
MILLISECONDS_BITS, BLOCK_BITS = 44, 19
MAX_NUMBER = (1 << MILLISECONDS_BITS + BLOCK_BITS) - 1
BLOCK_MASK = (1 << BLOCK_BITS) - 1

# The marks of documents. No word of a text begins so.
TITLE = "_t"
WITH_RUNS = "_x"  # it has something of a script without spaces
ROLES = {role: f"_{role[0]}" for role in ("system", "user", "assistant")} | {"tool": "_o"}


class Place(NamedTuple):
    """A place in the feed of changes."""

    changed: int
    conversation_id: str


class Behind(NamedTuple):
    """A conversation that has changed behind a place."""

    changed: int
    id: str
    project_id: str
    user_id: str | None
    title: str | None
    is_title_new: bool


class Found(NamedTuple):
    """A message that has to be in the index as it is now."""

    conversation_id: str
    position: int
    id: str
    role: str
    content: str
    content_type: str
    status: str


# --- What a document is


def number_of(id: str) -> int:
    """The number of the document of an id, if it is free. A later id has no smaller one."""
    milliseconds = min(int(id[:8] + id[9:13], 16), (1 << MILLISECONDS_BITS) - 1)
    # The version stands before id[15], and two bits of the variant in id[19].
    rest = int(id[15:18], 16) << 14 | int(id[19:23], 16) & 0x3FFF
    return milliseconds << BLOCK_BITS | rest >> 26 - BLOCK_BITS


def searchable_text(content: Content) -> str:
    """What is searched in a message: its text, or the text of its parts, each on its lines."""
    if isinstance(content, str):
        return content
    return "\n".join(text for text in map(_text_of_part, content) if text)


def _text_of_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def owner_marks(project_id: str | None, user_id: str | None) -> list[str]:
    """The marks of a project's and of a user's documents. Two may share one, though hardly ever."""
    owners = (("_p", project_id), ("_u", user_id))
    return [prefix + _digest(name) for prefix, name in owners if name is not None]


def _digest(name: str) -> str:
    return blake2b(name.encode(), digest_size=5).hexdigest()


# --- What is behind


def indexed_version() -> Any:
    """The version up to which the index has a conversation that changes now, for an UPDATE of it.

    Where the feed has been followed up to the row, this is the version before the change.
    """
    return SQL(
        'CASE WHEN ("changed", "id") <= (SELECT "changed", "conversation_id" FROM '
        '"search_progress") THEN "version" ELSE "indexed_version" END'
    )


def progress() -> Place:
    """The place up to which the index has everything."""
    return Place(*_progress().fetchone())


@query
def count_behind() -> int:
    """How many conversations have changed since the index had them."""
    return int(_count_behind(*progress()).fetchone()[0])


# --- Following


def forget(id: str) -> None:
    """A message or a title is gone, and so is its document."""
    _forget([id])


def forget_conversation(conversation_id: str) -> None:
    """The conversation is about to be deleted with all its messages."""
    _forget_messages(conversation_id, MAX_NUMBER)
    _forget([conversation_id])


def forget_oldest(conversation_id: str, limit: int) -> None:
    """The oldest so many messages of a conversation are about to be deleted."""
    _forget_messages(conversation_id, limit)


@transaction
def follow() -> bool:
    """Bring a batch into the index, and return whether there is more behind.

    On PostgreSQL one transaction does so at a time, and others leave it to that one.
    """
    found = _lock_progress().fetchone()
    if found is None:
        return False
    place = Place(*found)
    behind = [Behind._make(row) for row in _behind(*place, BATCH_CONVERSATIONS)]
    if not behind:
        return False
    end = Place(behind[-1].changed, behind[-1].id)
    messages, cut = _take(_new_messages(*place, *end))
    is_full = cut is not None or len(behind) == BATCH_CONVERSATIONS
    done = behind
    if cut is not None:  # the next batch goes on in this conversation
        at = [row.id for row in behind].index(cut)
        done, behind = behind[:at], behind[: at + 1]
        end = Place(behind[-1].changed, cut)
    positions = [message.position for message in messages if message.conversation_id == cut]
    messages += map(Found._make, _edited_messages(*place, *end))
    if positions:  # after the edits, since they are found by the version before
        _set_indexed_version(str(cut), positions[-1])
    owners = {row.id: owner_marks(row.project_id, row.user_id) for row in behind}
    texts: dict[str, tuple[list[str], str | None]] = {
        row.id: ([*owners[row.id], TITLE], row.title) for row in behind if row.is_title_new
    }
    for message in messages:
        marks = [*owners[message.conversation_id], ROLES[message.role]]
        texts[message.id] = (marks, _text(message))
    _write(texts)
    if done:
        _set_progress(done[-1].changed, done[-1].id)
    return is_full


follow_if_due = Chore(follow, "The search index could not be brought up to date", SECONDS, WRITES)


def follow_all(progress: Callable[[int], object]) -> None:
    """Bring all that there is into the index, in short transactions.

    `progress` is called with the number of conversations that are behind.
    """
    told_at, more = 0.0, True
    while more:
        more = follow()
        if time.monotonic() - told_at > 1 or not more:  # counting a million takes 50 ms
            progress(count_behind())
            told_at = time.monotonic()


@transaction
def empty() -> None:
    """Forget everything. Searches look through all texts until the index has them again."""
    if database.engine == "sqlite":
        # Without the trigger, which takes the documents out of the index one by one.
        ((create,),) = database.execute_sql(
            "SELECT sql FROM sqlite_master WHERE name = 'search_document_removed'"
        ).fetchall()
        database.execute_sql("DROP TRIGGER search_document_removed")
        database.execute_sql("DELETE FROM search_document")
        database.execute_sql(create)
        database.execute_sql("INSERT INTO search_index (search_index) VALUES ('delete-all')")
    else:
        database.execute_sql("TRUNCATE search_document")
    _set_progress(0, "")
    _reset_indexed_versions()


def rewrite() -> None:
    """Write the index anew, in short transactions, so that nothing of what it forgot is left."""
    if database.engine == "sqlite":
        pages = -MERGED_PAGES  # the first time, all parts of the index take part
        while _merge(pages):
            pages = MERGED_PAGES


@transaction
def _merge(pages: int) -> bool:
    """Whether there was something to do. (FTS5 says so by its changes, of which one is this.)"""
    connection = database.obj.connection()
    before = connection.total_changes
    database.execute_sql(
        "INSERT INTO search_index (search_index, rank) VALUES ('merge', ?)", [pages]
    )
    return connection.total_changes - before > 1


def _take(found: Any) -> tuple[list[Found], str | None]:
    """The messages of a batch, and the conversation in which it had to end, if it had to."""
    taken: list[Found] = []
    size = 0
    for message in map(Found._make, found):
        if len(taken) == BATCH_MESSAGES or size > BATCH_CODE_POINTS:
            found.close()
            return taken, message.conversation_id
        taken.append(message)
        size += len(message.content)
    return taken, None


def _text(message: Found) -> str | None:
    if message.status == IN_PROGRESS:
        return None
    return searchable_text(decode_content(message.content, message.content_type))


def _write(texts: dict[str, tuple[list[str], str | None]]) -> None:
    """Let the documents of these ids be made of these marks and texts. None has no document."""
    if not texts:
        return
    ids = sorted(texts)
    known = dict(_known(ids).fetchall())
    added: list[tuple[int, str]] = []
    for id in ids:
        marks, text = texts[id]
        terms = terms_of(text or "")
        if terms == " ":
            if id in known:
                forget(id)
            continue
        document = full_text.document(marks + [WITH_RUNS] * has_runs(terms), terms)
        if id not in known:
            added.append((_insert_document(id, document), document))
        elif document != known[id]:
            _update(id, document)
    if added and database.engine == "sqlite":
        # FTS5 takes them all at once in this order. Peewee has no `executemany`.
        database.obj.connection().executemany(
            "INSERT INTO search_index (rowid, terms) VALUES (?, ?)", sorted(added)
        )


def _insert_document(id: str, document: str) -> int:
    """Store it under the number of the id, or another one of its block if that is taken."""
    number = number_of(id)
    first, last = number & ~BLOCK_MASK, number | BLOCK_MASK
    while _insert(number, id, document).rowcount == 0:
        above = _greatest_number(number, last).fetchone()[0] + 1
        below = _smallest_number(first, number).fetchone()[0] - 1
        if above <= last:
            number = above
        elif below >= first:
            number = below
        else:
            number = random.randint(first, last)  # noqa: S311
    return number


# --- Queries


@prepared
def _progress() -> Any:
    """How far the index has come."""
    return SearchProgress.select(SearchProgress.changed, SearchProgress.conversation_id)


@prepared
def _lock_progress() -> Any:
    """How far it has come, unless somebody is at it."""
    row = SearchProgress.select(SearchProgress.changed, SearchProgress.conversation_id)
    return row.for_update(skip_locked=True) if database.for_update else row


@prepared
def _set_progress(changed: Any, conversation_id: Any) -> Any:
    return SearchProgress.update(changed=changed, conversation_id=conversation_id)


_PLACE = (Conversation.changed, Conversation.id)


@prepared
def _behind(changed: Any, id: Any, limit: Any) -> Any:
    """Conversations behind a place. Nobody writes to them before this transaction ends.

    Else, on PostgreSQL, a message could be deleted of which the document is not there yet.
    """
    title_event = Event.select(SQL("1")).where(
        Event.conversation_id == Conversation.id,
        Event.position > Conversation.indexed_version,
        Event.kind == CONVERSATION,
    )
    is_title_new = (Conversation.indexed_version == 0) | fn.EXISTS(title_event)
    rows = (
        Conversation.select(
            *_PLACE,
            *(Conversation.project_id, Conversation.user_id, Conversation.title),
            is_title_new,
        )
        .where(Tuple(*_PLACE) > Tuple(changed, id), *is_settled(Conversation.changed))
        .order_by(*_PLACE)
        .limit(limit)
    )
    if database.for_update:
        return rows.for_update("FOR SHARE")  # type: ignore[arg-type]
    return rows


@prepared
def _count_behind(changed: Any, id: Any) -> Any:
    return Conversation.select(fn.COUNT(1)).where(Tuple(*_PLACE) > Tuple(changed, id))


_FOUND = tuple(getattr(Message, name) for name in Found._fields)


# A cross join, since SQLite does that in the order in which it is written.


def new_messages(*columns: Any) -> Any:
    """Columns of the messages that the index has not seen, with their conversations."""
    return (
        Conversation.select(*columns)
        .join(Message, JOIN.CROSS)
        .where(
            Message.conversation_id == Conversation.id,
            Message.position > Conversation.indexed_version,
        )
    )


def edited_messages(*columns: Any) -> Any:
    """Columns of the messages that it has seen and that were edited or finished since, likewise."""
    return (
        Conversation.select(*columns)
        .join(Event, JOIN.CROSS)
        .join(Message, JOIN.CROSS)
        .where(
            Event.conversation_id == Conversation.id,
            Event.position > Conversation.indexed_version,
            Event.kind.in_((MESSAGE, DONE)),
            Message.id == Event.message_id,
            Message.conversation_id == Event.conversation_id,
            Message.position <= Conversation.indexed_version,
        )
    )


def _between(changed: Any, id: Any, last_changed: Any, last_id: Any) -> Any:
    place = Tuple(*_PLACE)
    return (place > Tuple(changed, id)) & (place <= Tuple(last_changed, last_id))


@prepared
def _new_messages(changed: Any, id: Any, last_changed: Any, last_id: Any) -> Any:
    """What the index has not seen of the conversations between two places."""
    # SQLite finds a conversation's messages in their order, and would sort them if it were told so.
    by_position = [Message.position] * (database.engine != "sqlite")
    return (
        new_messages(*_FOUND)
        .where(_between(changed, id, last_changed, last_id))
        .order_by(*_PLACE, *by_position)
        .limit(BATCH_MESSAGES + 1)
    )


@prepared
def _edited_messages(changed: Any, id: Any, last_changed: Any, last_id: Any) -> Any:
    """What was edited or finished in them."""
    return edited_messages(*_FOUND).where(_between(changed, id, last_changed, last_id))


@prepared
def _set_indexed_version(id: Any, version: Any) -> Any:
    return Conversation.update(indexed_version=version).where(Conversation.id == id)


@prepared
def _reset_indexed_versions() -> Any:
    return Conversation.update(indexed_version=0).where(Conversation.indexed_version > 0)


@prepared_for_list
def _known(ids: Any) -> Any:
    """The documents that there are of some ids.

    With `IN`, SQLite would read the whole table if it was told that this is small (ANALYZE).
    """
    asked = CTE("asked", ValuesList([(id,) for id in ids]), columns=("id",))
    return (
        Select([asked], [SearchDocument.id, SearchDocument.terms])
        .with_cte(asked)
        .join(SearchDocument, JOIN.CROSS)
        .where(SearchDocument.id == asked.c.id)
    )


@prepared
def _greatest_number(first: Any, last: Any) -> Any:
    """The greatest number of a document between two."""
    return SearchDocument.select(fn.MAX(SearchDocument.number)).where(
        SearchDocument.number.between(first, last)
    )


@prepared
def _smallest_number(first: Any, last: Any) -> Any:
    """The smallest one."""
    return SearchDocument.select(fn.MIN(SearchDocument.number)).where(
        SearchDocument.number.between(first, last)
    )


_insert = insertion(SearchDocument, ("number", "id", "terms"), unless_taken=True)


@prepared
def _update(id: Any, terms: Any) -> Any:
    return SearchDocument.update(terms=terms).where(SearchDocument.id == id)


@prepared_for_list
def _forget(ids: Any) -> Any:
    return SearchDocument.delete().where(SearchDocument.id.in_(ids))


@prepared
def _forget_messages(conversation_id: Any, limit: Any) -> Any:
    oldest = (
        Message.select(Message.id)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.position)
        .limit(limit)
    )
    return SearchDocument.delete().where(SearchDocument.id.in_(oldest))
