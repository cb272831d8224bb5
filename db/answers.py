"""Answers that are stored with what was said when they begin, and that may be several messages.

An answer of a model is text, calls of tools, or both. Where each of these is a message of its own,
all but the first name it in their metadata, as `answer_id`. So what goes on from an answer goes on
from its end, although others may have gone on meanwhile.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from . import conversations, idempotency_keys, messages, streams
from .engine.database import transaction
from .idempotency_keys import Claim, Outcome
from .messages import ACTIVE_LEAF, ALL, Draft
from .models import Item, MessageRow
from .scope import Scope

ANSWER_ID = "answer_id"
MAX_MESSAGES = 1000  # behind an answer, among which its further messages are looked for


class Place(NamedTuple):
    """Where something is said: a conversation, or None for a new one; and behind which message."""

    conversation_id: str | None
    parent_id: str | None = ACTIVE_LEAF


class Stored(NamedTuple):
    """What was said, and the messages of the answer."""

    conversation_id: str
    said: list[MessageRow]
    answer: list[MessageRow]


@transaction
def begin(
    scope: Scope,
    place: Place,
    project_id: str,
    said: Sequence[Draft],
    answer: Sequence[Draft],
    claim: Claim | None = None,
) -> Stored:
    """Store what was said and the beginning of the answer, or all of it. A new conversation is made
    in the project.

    With a `claim` that is reserved, a repetition of the request finds it by `referred_to`.
    Raises ConversationNotFound, and Invalid if there is no such parent.
    """
    id = place.conversation_id or conversations.start(scope, project_id).id
    first = [*said, *answer[:1]]
    if first and place.parent_id is not ACTIVE_LEAF:
        first[0] = first[0]._replace(parent_id=place.parent_id)
    rows = messages.append(scope, id, first)
    stored = Stored(id, rows[: len(said)], rows[len(said) :])
    if len(answer) > 1:
        stored.answer.extend(messages.append(scope, id, _marked(answer[1:], stored.answer[0].id)))
    if claim is not None:
        reference = json.dumps([id, [*stored.answer, *stored.said[::-1]][0].id])
        idempotency_keys.settle(claim, Outcome(reference=reference))
    return stored


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
    Raises ConversationNotFound, MessageNotFound, StreamFinished.
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


def find(scope: Scope, conversation_id: str, answer_id: str) -> list[MessageRow]:
    """All messages of an answer. Raises ConversationNotFound, MessageNotFound."""
    first = messages.find(scope, conversation_id, answer_id)
    behind = messages.page_for(scope, conversation_id, MAX_MESSAGES, answer_id, branch=ALL).rows
    return [first, *(row for row in behind if (row.metadata or {}).get(ANSWER_ID) == answer_id)]


def referred_to(scope: Scope, outcome: Outcome) -> tuple[str, list[MessageRow]]:
    """The conversation and the messages of the answer that the outcome of a claim refers to.

    Raises ConversationNotFound, MessageNotFound.
    """
    conversation_id, answer_id = json.loads(outcome.reference or "[]")
    rows = find(scope, conversation_id, answer_id)
    return conversation_id, [row for row in rows if row.role == "assistant"]


# --- Answers that belong to no conversation


def keep(who: str, answer_id: str, said: Sequence[Draft], answer: Sequence[Draft]) -> None:
    """Keep what was said and its answer for a day, without a conversation.

    `adopt` makes a conversation of it. The drafts of the answer have the ids that it was told with.
    """
    drafts = [*said, *answer[:1], *_marked(answer[1:], answer_id)]
    rows = [[isinstance(it.content, Item), *(getattr(it, name) for name in _KEPT)] for it in drafts]
    request = _kept(who, answer_id)
    idempotency_keys.once(request, lambda: Outcome(reference=json.dumps(rows)))


@transaction
def adopt(scope: Scope, project_id: str, who: str, answer_id: str) -> str:
    """The conversation of an answer. If the answer is one that is kept, it is made.

    Raises MessageNotFound if there is no such answer, or none any more.
    """
    kept = idempotency_keys.take_away(_kept(who, answer_id))
    if kept is None:
        return messages.conversation_of(scope, answer_id)
    drafts = []
    for is_item, *values in json.loads(kept.reference or "[]"):
        draft = Draft(**dict(zip(_KEPT, values, strict=True)))
        drafts.append(draft._replace(content=Item(draft.content)) if is_item else draft)
    return begin(scope, Place(None), project_id, drafts, ()).conversation_id


_KEPT = ("role", "content", "status", "metadata", "id")


def _kept(who: str, answer_id: str) -> Claim:
    return Claim(who, f"the answer {answer_id}", fingerprint="")
