"""A turn of a chat: the question is stored, the model asked, its answer stored as it comes."""

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from db import idempotency_keys, messages, streams, transcripts
from db.engine.database import release
from db.errors import RequestInProgress
from db.idempotency_keys import Claim, Outcome
from db.messages import Draft
from db.models import COMPLETED, IN_PROGRESS, INCOMPLETE, Content, MessageRow
from db.scope import Scope
from db.settings import settings

from . import client, echo
from .client import ModelError

log = logging.getLogger("confab")


class Turn(NamedTuple):
    """A question and its answer, as they are stored."""

    question: MessageRow
    answer: MessageRow
    failure: str | None  # one sentence: why the answer is incomplete
    is_replayed: bool


def take(
    scope: Scope,
    conversation_id: str,
    content: Content,
    metadata: dict[str, Any] | None = None,
    claim: Claim | None = None,
) -> Turn:
    """Say something in a conversation, and store the model's answer while it arrives.

    When the model fails, the question and the part of the answer that came stay stored. The two
    messages and the `claim` commit together. So a retry finds them by their ids, whatever became of
    the first request, and asks no model again.
    Raises ConversationNotFound, IdempotencyKeyReused, RequestInProgress; and MessageNotFound or
    StreamFinished if somebody deletes or ends the answer meanwhile.
    """

    def begin() -> Outcome:
        drafts = [Draft("user", content, metadata=metadata), Draft("assistant", "", IN_PROGRESS)]
        rows = messages.append(scope, conversation_id, drafts)
        return Outcome(reference=json.dumps([row.id for row in rows]))

    begun, is_replayed = idempotency_keys.once(claim, begin) if claim else (begin(), False)
    question_id, answer_id = json.loads(begun.reference or "[]")
    failure = None if is_replayed else _answer(scope, conversation_id, answer_id)
    question = messages.find(scope, conversation_id, question_id)
    answer = messages.find(scope, conversation_id, answer_id)
    if answer.status == IN_PROGRESS:
        raise RequestInProgress(
            "The first request with this Idempotency-Key is still being answered: follow /events."
        )
    if answer.status == INCOMPLETE and failure is None:
        failure = "The model did not answer to the end when this was asked first."
    return Turn(question, answer, failure, is_replayed)


def ask(history: Sequence[MessageRow]) -> Iterator[str]:
    """The model's answer to a conversation, piece by piece as it arrives.

    Raises ModelError at any point. What was yielded before is good.
    """
    pieces = echo.ask(history) if settings().chat_base_url is None else client.ask(history)
    return map(_storable, pieces)


def _answer(scope: Scope, conversation_id: str, message_id: str) -> str | None:
    """Write the model's answer into the message. Returns why it is incomplete, if it is."""
    rows = transcripts.read(scope, conversation_id).messages
    length = 0
    release()  # a server of rows has fewer connections than may wait for a model
    try:
        for piece in ask([row for row in rows if row.status == COMPLETED]):
            streams.append(scope, conversation_id, message_id, length, piece)
            length += len(piece)
            release()
    except ModelError as error:
        log.warning("%s", error, exc_info=error.__cause__)
        streams.append(scope, conversation_id, message_id, length, "", INCOMPLETE)
        return str(error)
    streams.append(scope, conversation_id, message_id, length, "", COMPLETED)
    return None


def _storable(text: str) -> str:
    """`text` without what no database stores: NUL, and halves of surrogate pairs."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")
