"""Answers that are stored with what was said when they begin, and that may be several messages.

An answer of a model is text, calls of tools, or both. Where each of these is a message of its own,
all but the first name it in their metadata, as `answer_id`: others may have gone on meanwhile, and
stand between them. So what goes on from an answer goes on from its end.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from . import conversations, idempotency_keys, kept_answers, messages, streams
from .engine.database import transaction
from .errors import MessageNotFound
from .idempotency_keys import Claim, Outcome
from .kept_answers import Kept
from .messages import ACTIVE_LEAF, ALL, ANSWER_ID, Draft
from .models import Item, MessageRow
from .scope import Scope

MAX_MESSAGES = 100  # behind an answer, among which its further messages are looked for


class Place(NamedTuple):
    """Where something is said: in a conversation, behind a message; or behind a kept answer, which
    becomes one.
    """

    conversation_id: str | None
    parent_id: str | None = ACTIVE_LEAF
    kept: Kept | None = None


class Stored(NamedTuple):
    """The messages of an answer that begins, where they are."""

    conversation_id: str
    id: str  # of the answer: its first message, or what it follows if it has none
    answer: list[MessageRow]


@transaction
def begin(
    scope: Scope,
    place: Place,
    said: Sequence[Draft],
    answer: Sequence[Draft],
    claim: Claim | None = None,
) -> Stored:
    """Store what was said and the beginning of the answer, or all of it.

    With a `claim` that is reserved, a repetition of the request finds it by `referred_to`.
    Raises ConversationNotFound, and Invalid if there is no such parent.
    """
    place = _made(scope, place)
    id = str(place.conversation_id)
    first = [*said, *answer[:1]]
    if first and place.parent_id is not ACTIVE_LEAF:
        first[0] = first[0]._replace(parent_id=place.parent_id)
    rows = messages.append(scope, id, first)
    answered = rows[len(said) :]
    if len(answer) > 1:
        answered += messages.append(scope, id, _marked(answer[1:], answered[0].id))
    last_id = rows[-1].id if rows else conversations.find(scope, id).last_message_id
    stored = Stored(id, answered[0].id if answered else str(last_id), answered)
    if claim is not None:
        reference = json.dumps([id, stored.id])
        idempotency_keys.settle(claim, Outcome(reference=reference))
    return stored


def _made(scope: Scope, place: Place) -> Place:
    """The place in a conversation, which is made of a kept answer unless somebody has made it."""
    kept = place.kept
    if kept is None:
        return place
    if kept_answers.take(kept.id):
        owner = Scope(kept.project_id, kept.user_id)
        id = conversations.start(owner, kept.project_id).id
        return Place(id, messages.append(owner, id, kept.messages)[-1].id)
    id = messages.conversation_of(scope, kept.id)
    conversations.lock(scope, id)  # else the answer may end between two looks at it
    return _behind(scope, id, kept.id)


def place_behind(scope: Scope, answer_id: str) -> Place:
    """Where one goes on from an answer. Raises MessageNotFound if there is none, or none any more.

    It may be any message.
    """
    try:
        return Place(None, kept=kept_answers.find(scope, answer_id))
    except MessageNotFound:
        return _behind(scope, messages.conversation_of(scope, answer_id), answer_id)


def _behind(scope: Scope, conversation_id: str, answer_id: str) -> Place:
    return Place(conversation_id, find(scope, conversation_id, answer_id)[-1].id)


@transaction
def finish(
    scope: Scope,
    conversation_id: str,
    answer_id: str,
    length: int,
    status: str,
    rest: Sequence[Draft] = (),
) -> list[MessageRow]:
    """End the text of an answer, which has so many code points, and store its further messages.

    They follow the newest message of its branch: others may have gone on.
    Raises ConversationNotFound, MessageNotFound, StreamFinished, OffsetConflict.
    """
    streams.append(scope, conversation_id, answer_id, length, "", status)
    if not rest:
        return []
    drafts = _marked(rest, answer_id)
    if not messages.is_shown(scope, conversation_id, answer_id):
        drafts[0] = drafts[0]._replace(parent_id=answer_id)
    return messages.append(scope, conversation_id, drafts)


def _marked(drafts: Sequence[Draft], answer_id: str) -> list[Draft]:
    return [
        draft._replace(metadata={**(draft.metadata or {}), ANSWER_ID: answer_id})
        for draft in drafts
    ]


def keep(
    scope: Scope, project_id: str, id: str, said: Sequence[Draft], answer: Sequence[Draft]
) -> None:
    """Keep an answer that is nowhere, with what was said. All of the drafts have ids."""
    every = [*said, *answer[:1], *_marked(answer[1:], id)]
    kept_answers.keep(scope, project_id, id, every)


def find(scope: Scope, conversation_id: str, answer_id: str) -> list[MessageRow]:
    """All messages of an answer. Raises ConversationNotFound, MessageNotFound.

    Those that stand right behind it belong to it also if a client has taken their mark away.
    """
    found = [messages.find(scope, conversation_id, answer_id)]
    if found[0].role == "assistant":
        behind = messages.page_for(scope, conversation_id, MAX_MESSAGES, answer_id, branch=ALL)
        for row in behind.rows:
            if row.role == "assistant" and isinstance(row.content, Item):
                mark = (row.metadata or {}).get(ANSWER_ID)
                if mark == answer_id or (mark is None and row.parent_id == found[-1].id):
                    found.append(row)
    return found


def referred_to(scope: Scope, outcome: Outcome) -> tuple[str, str, list[MessageRow]]:
    """The conversation, the id and the messages of the answer that a claim's outcome refers to.

    Raises ConversationNotFound, MessageNotFound.
    """
    conversation_id, answer_id = json.loads(outcome.reference or "[]")
    rows = find(scope, conversation_id, answer_id)
    return conversation_id, answer_id, [row for row in rows if row.role == "assistant"]
