"""Search: the messages and titles that have what is asked for, by age or by relevance.

The index names candidates, newest first, and each is compared with its text. What the index has not
seen yet is looked through. So a search finds what was stored a millisecond ago, and both engines
find the same. The tenant is part of the question: the index steps over what others have.
"""

from collections.abc import Callable, Iterator
from functools import cache
from heapq import merge, nlargest
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from peewee import JOIN, SQL, Cast, Expression, Select, Table, Tuple, fn

from . import lists, search_index
from .clock import AFTER_ALL_IDS
from .engine import full_text
from .engine.database import database, snapshot
from .engine.prepared import prepared, prepared_for_list
from .excerpts import Excerpt, excerpt
from .lists import Filter
from .models import (
    IN_PROGRESS,
    IS_KEPT,
    Conversation,
    Message,
    SearchDocument,
    decode_content,
)
from .scope import Scope
from .search_index import (
    BLOCK_MASK,
    MAX_NUMBER,
    ROLES,
    TITLE,
    WITH_RUNS,
    number_of,
    searchable_text,
)
from .terms import Query, Term, is_run, parse, pattern, terms_of

RELEVANCE, NEWEST = "relevance", "newest"  # what results are sorted by

# By relevance, so many of the newest hits are compared with each other, then the next ones.
WINDOW = 200
CANDIDATES = 50  # more than are wanted are asked for, and then twice as many as the time before
MAX_CANDIDATES = 1_000
MAX_ROWS = 1_000_000  # more than a block of numbers has
# A prefix of one or two characters is nearly everywhere, and the index would join the lists of all
# words that begin so: 270 ms among a million messages. So it is left out of the question at first,
# and as long as this share of the candidates has it.
SHORT_PREFIX = 2
FREQUENT = 0.25
FEW = 50  # conversations that are looked through without the index
# A text of this many code points is neither short nor long.
USUAL_CODE_POINTS = 400
TITLE_BONUS = 1.0  # as much as a word that comes all the time


class Asked(NamedTuple):
    """What is searched, and where."""

    scope: Scope
    query: Query
    role: str | None
    is_archived: bool | None


class Hit(NamedTuple):
    """A message, or a conversation by its title, that has what is asked for."""

    id: str  # of the message, or of the conversation
    conversation_id: str
    project_id: str
    title: str | None
    created_at: str  # of the conversation
    updated_at: str
    message_id: str | None
    role: str | None
    message_created_at: str | None
    text: str
    terms: str
    excerpt: Excerpt = Excerpt("", [])


class Place(NamedTuple):
    """Behind which hit a page begins: the newest ones that are older than `before`.

    By relevance, it is the first so many of their window that are left out.
    """

    before: str = AFTER_ALL_IDS
    skip: int = 0


FIRST = Place()


class HitSlice(NamedTuple):
    """Hits, and where the next page begins, if there is one."""

    rows: list[Hit]
    next: Place | None


@snapshot
def page_for(
    scope: Scope,
    text: str,
    project_id: str | None = None,
    role: str | None = None,
    is_archived: bool | None = None,
    sort: str = RELEVANCE,
    limit: int = 20,
    after: Place = FIRST,
) -> HitSlice:
    """What has all that `text` asks for (`terms.parse`) in one message, or in a title.

    Titles are found without a `role` only. By relevance, those hits come first that have the words
    more often in less text, and titles. To compare a million hits would take seconds, so this is an
    order of the 200 newest, then of the next 200.
    """
    scope = Scope(project_id or scope.project_id, scope.user_id)
    asked = Asked(scope, parse(text), role, is_archived)
    if not asked.query.required:
        return HitSlice([], None)
    found = _newest(asked, after, limit) if sort == NEWEST else _relevant(asked, after, limit)
    rows = [hit._replace(excerpt=excerpt(hit.text, asked.query.required)) for hit in found.rows]
    return found._replace(rows=rows)


def _newest(asked: Asked, after: Place, limit: int) -> HitSlice:
    found = [*islice(_hits(asked, after.before, limit + 1), limit + 1)]
    rows = found[:limit]
    return HitSlice(rows, Place(rows[-1].id) if len(found) > limit else None)


def _relevant(asked: Asked, after: Place, limit: int) -> HitSlice:
    rows: list[Hit] = []
    place: Place | None = after
    while place is not None and len(rows) < limit:
        found = [*islice(_hits(asked, place.before, WINDOW + 1), WINDOW + 1)]
        window, is_last = found[:WINDOW], len(found) <= WINDOW
        oldest = window[-1].id if window else ""
        end = place.skip + limit - len(rows)
        window.sort(key=lambda hit: _score(hit, asked.query), reverse=True)
        rows += window[place.skip : end]
        if end < len(window):
            place = Place(place.before, end)
        else:
            place = None if is_last else Place(oldest)
    return HitSlice(rows, place)


def _score(hit: Hit, query: Query) -> float:
    """How much the text is about what is asked for. (BM25 without rare words' weight.)"""
    length = 0.3 + 0.7 * len(hit.terms) / USUAL_CODE_POINTS
    counts = [hit.terms.count(pattern(term)) for term in query.required]
    score = sum(count / (count + length) for count in counts) / len(counts)
    return score + TITLE_BONUS * (hit.message_id is None)


# --- Hits


def _hits(asked: Asked, before: str, limit: int) -> Iterator[Hit]:
    """The hits whose ids are smaller than one, the greatest first: `limit` or more."""
    few = _few_conversations(asked)
    looked_through = _fresh(asked) if few is None else _in_conversations(asked, few)
    newest = nlargest(
        limit, (hit for hit in looked_through if hit.id < before), key=attrgetter("id")
    )
    indexed = _indexed(asked, before, limit) if few is None else iter(())
    last = None
    for hit in merge(newest, indexed, key=attrgetter("id"), reverse=True):
        if hit.id != last:  # the index may know an earlier version of what is fresh
            yield hit
        last = hit.id


def _few_conversations(asked: Asked) -> list[str] | None:
    """The ids of all conversations that are archived, or not, as asked. None if they are many.

    The index does not know it of a document. So among a million it would name all that have a
    common word, to find out that nothing is archived.
    """
    if asked.is_archived is None:
        return None
    page = lists.page_for(asked.scope, None, Filter(is_archived=asked.is_archived), limit=FEW)
    return None if page.has_more else [row.id for row in page.rows]


def _in_conversations(asked: Asked, ids: list[str]) -> Iterator[Hit]:
    """The hits in some conversations, in no order."""
    if ids:
        yield from _matching(asked, _messages_in(ids))
        yield from _matching(asked, _titles_of(ids))


def _fresh(asked: Asked) -> Iterator[Hit]:
    """The hits among what the index has not seen yet, in no order."""
    shape = (asked.scope.project_id is not None, asked.scope.user_id is not None)
    place = search_index.progress()
    seen: set[str] = set()  # a message that was edited twice is found twice
    for what in (search_index.new_messages, search_index.edited_messages, _titles):
        for hit in _matching(asked, _behind(what, *shape)(*asked.scope, *place)):
            if hit.id not in seen:
                seen.add(hit.id)
                yield hit


def _indexed(asked: Asked, before: str, limit: int) -> Iterator[Hit]:
    """The hits among what the index has, the greatest id first."""
    shape = (
        asked.scope.project_id is not None,
        asked.scope.user_id is not None,
        asked.is_archived is not None,
    )
    ask = _candidates(*shape)
    is_loose, seen, count, size = True, 0, 0, limit + CANDIDATES
    # A document's number is of the same block as that of its id.
    highest = MAX_NUMBER if before == AFTER_ALL_IDS else number_of(before) | BLOCK_MASK
    while True:
        of = (_question(asked, is_loose), *asked.scope, bool(asked.is_archived))
        found = ask(*of, 0, highest, size).fetchall()
        is_last = len(found) < size
        if not is_last:
            # Within a block, numbers may have another order than ids. So the last block is left
            # for the next time, unless there is no other one.
            lowest = found[-1][0] & ~BLOCK_MASK
            if found[0][0] > lowest | BLOCK_MASK:
                highest = lowest | BLOCK_MASK
                found = [row for row in found if row[0] > highest]
            else:
                found += ask(*of, lowest, found[-1][0] - 1, MAX_ROWS).fetchall()
                highest = lowest - 1
        matching = _matching(asked, (row[1:] for row in found))
        hits = sorted(
            (hit for hit in matching if hit.id < before), key=attrgetter("id"), reverse=True
        )
        yield from hits
        if is_last or highest < 0:
            return
        seen, count, size = seen + len(found), count + len(hits), min(2 * size, MAX_CANDIDATES)
        is_loose = is_loose and count >= FREQUENT * seen


def _question(asked: Asked, is_loose: bool) -> str:
    """What the index is asked: for no less than what is asked for."""
    marks = [[mark] for mark in search_index.owner_marks(*asked.scope)]
    marks += [[ROLES[asked.role]]] if asked.role is not None else []
    required = asked.query.required
    if is_loose:
        marks += [[WITH_RUNS]] * any(is_run(term.words[-1]) for term in required if _is_short(term))
        required = tuple(looser for term in required if (looser := _loosened(term)))
    excluded = [term for term in asked.query.excluded if not _is_short(term)]
    if not marks and not required:
        marks = [[*ROLES.values(), TITLE]]
    return full_text.matching(marks, required, excluded)


def _loosened(term: Term) -> Term | None:
    """The term without a short prefix at its end. None if nothing is left."""
    if not _is_short(term):
        return term
    return Term(term.words[:-1]) if len(term.words) > 1 else None


def _is_short(term: Term) -> bool:
    """Whether it ends with a prefix that is nearly everywhere, or with one character of a run."""
    if is_run(term.words[-1]):
        return len(term.words[-1]) == 1
    return term.is_prefix and len(term.words[-1]) <= SHORT_PREFIX


def _matching(asked: Asked, rows: Any) -> Iterator[Hit]:
    """The hits among rows of `_COLUMNS`."""
    for row in rows:
        conversation_id, project_id, title, made_at, updated_at, is_archived, *of_message = row
        message_id, role, content, content_type, status, created_at = of_message
        if asked.is_archived is not None and bool(is_archived) != asked.is_archived:
            continue
        if message_id is None:
            text = title or ""
            if asked.role is not None:
                continue
        else:
            text = searchable_text(decode_content(content, content_type))
            if status == IN_PROGRESS or asked.role not in (None, role):
                continue
        terms = terms_of(text)
        if asked.query.matches(terms):
            yield Hit(
                id=message_id or conversation_id,
                conversation_id=conversation_id,
                project_id=project_id,
                title=title,
                created_at=made_at,
                updated_at=updated_at,
                message_id=message_id,
                role=role,
                message_created_at=created_at,
                text=text,
                terms=terms,
            )


# --- Queries

_OF_CONVERSATION = (
    *(Conversation.id, Conversation.project_id, Conversation.title, Conversation.created_at),
    *(Conversation.updated_at, Conversation.is_archived),
)
_OF_MESSAGE = (
    *(Message.id, Message.role, Message.content, Message.content_type, Message.status),
    Message.created_at,
)
_COLUMNS = (*_OF_CONVERSATION, *_OF_MESSAGE)


@cache
def _behind(what: Callable[..., Any], by_project: bool, by_user: bool) -> prepared:
    """What the index has not seen yet of a project or all, of a user or all."""

    def build(project_id: Any, user_id: Any, changed: Any, id: Any) -> Any:
        # As functions of the columns, so that the rows are found by the place.
        where = [fn.COALESCE(Conversation.project_id, "") == project_id] * by_project
        where += [fn.COALESCE(Conversation.user_id, "") == user_id] * by_user
        place = Tuple(Conversation.changed, Conversation.id) > Tuple(changed, id)
        return what(*_COLUMNS).where(place, IS_KEPT, *where)

    return prepared(build)


def _titles(*columns: Any) -> Any:
    """All conversations, without their messages."""
    return Conversation.select(*_OF_CONVERSATION, *[SQL("NULL")] * len(_OF_MESSAGE))


@prepared_for_list
def _titles_of(ids: Any) -> Any:
    """Some conversations, without their messages."""
    return _titles().where(Conversation.id.in_(ids), IS_KEPT)


@prepared_for_list
def _messages_in(ids: Any) -> Any:
    """The messages of some conversations."""
    return (
        Conversation.select(*_COLUMNS)
        .join(Message, JOIN.CROSS)
        .where(Conversation.id.in_(ids), IS_KEPT, Message.conversation_id == Conversation.id)
    )


@cache
def _candidates(by_project: bool, by_user: bool, by_archived: bool) -> prepared:
    """The documents that the index names, with what they are made of, the greatest number first."""

    def build(
        question: Any, project_id: Any, user_id: Any, is_archived: Any, low: Any, high: Any,
        limit: Any,
    ) -> Any:  # fmt: skip
        where = [IS_KEPT]
        where += [Conversation.project_id == project_id] * by_project
        where += [Conversation.user_id == user_id] * by_user
        where += [Conversation.is_archived == is_archived] * by_archived
        if database.engine == "sqlite":
            index = Table("search_index")
            number, named = index.c.rowid, Expression(index.c.search_index, "MATCH", question)
            found = Select([index], [number, *_COLUMNS]).join(
                SearchDocument, JOIN.CROSS, on=SearchDocument.number == number
            )
        else:
            number = SearchDocument.number
            named = Expression(SearchDocument.terms, "@@", Cast(question, "tsquery"))
            found = Select([SearchDocument], [number, *_COLUMNS])
        of_message = fn.COALESCE(Message.conversation_id, SearchDocument.id)
        return (
            found.join(Message, JOIN.LEFT_OUTER, on=Message.id == SearchDocument.id)
            .join(Conversation, JOIN.CROSS)
            .where(Conversation.id == of_message, named, number.between(low, high), *where)
            .order_by(number.desc())
            .limit(limit)
        )

    return prepared(build)
