"""A turn of a chat: the question is stored, the model asked, its answer stored as it comes."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from db import context, idempotency_keys, messages, streams, turns
from db.chat_messages import ChatMessage
from db.engine.database import release
from db.errors import RequestInProgress
from db.idempotency_keys import Claim, Outcome
from db.messages import Draft
from db.models import COMPLETED, IN_PROGRESS, INCOMPLETE, MessageRow
from db.scope import Scope
from db.settings import settings
from db.turns import Begun

from . import client, echo
from .client import ModelError

log = logging.getLogger("confab")


class Turn(NamedTuple):
    """A question and its answer, as they are stored."""

    question: MessageRow
    answer: MessageRow
    failure: str | None  # one sentence: why the answer is incomplete
    is_replayed: bool
    is_regenerated: bool  # the question was there, and this is another answer to it


def take(scope: Scope, conversation_id: str, question: Draft, claim: Claim | None = None) -> Turn:
    """Say something in a conversation, and store the model's answer while it arrives.

    When the model fails, the question and the part of the answer that came stay stored. The two
    messages and the `claim` commit together. So a retry finds them by their ids, whatever became of
    the first request, and asks no model again. So does one with the `client_id` of the question.
    Raises as `turns.begin` does, IdempotencyKeyReused, RequestInProgress; and MessageNotFound or
    StreamFinished if somebody deletes or ends the answer meanwhile.
    """
    begun = _once(claim, lambda: turns.begin(scope, conversation_id, question))
    return _finish(scope, conversation_id, begun, is_regenerated=False)


def retake(
    scope: Scope, conversation_id: str, question_id: str, claim: Claim | None = None
) -> Turn:
    """Let the model answer a question once more, beside the answers that it has.

    As `take`. Raises as `turns.begin_again` does.
    """
    begun = _once(claim, lambda: turns.begin_again(scope, conversation_id, question_id))
    return _finish(scope, conversation_id, begun, is_regenerated=True)


def _once(claim: Claim | None, begin: Callable[[], Begun]) -> Begun:
    """What `begin` returns, or what it returned for an earlier request with the claim."""
    if claim is None:
        return begin()

    def outcome() -> Outcome:
        return Outcome(reference=json.dumps(begin()))

    stored, is_replayed = idempotency_keys.once(claim, outcome)
    begun = Begun(*json.loads(stored.reference or "[]"))
    return begun._replace(is_known=is_replayed or begun.is_known)


def _finish(scope: Scope, conversation_id: str, begun: Begun, is_regenerated: bool) -> Turn:
    """Ask the model, unless an earlier request did, and return what is stored then."""
    question_id, answer_id, is_replayed = begun
    failure = None if is_replayed else _answer(scope, conversation_id, question_id, answer_id)
    question = messages.find(scope, conversation_id, question_id)
    answer = messages.find(scope, conversation_id, answer_id)
    if answer.status == IN_PROGRESS:
        raise RequestInProgress(
            "The first request for this question is still being answered: follow /events."
        )
    if answer.status == INCOMPLETE and failure is None:
        failure = "The model did not answer to the end when this was asked first."
    return Turn(question, answer, failure, is_replayed, is_regenerated)


def ask(history: Sequence[ChatMessage]) -> Iterator[str]:
    """The model's answer to a conversation, piece by piece as it arrives.

    Raises ModelError at any point. What was yielded before is good.
    """
    pieces = echo.ask(history) if settings().chat_base_url is None else client.ask(history)
    return map(_storable, pieces)


def _answer(scope: Scope, conversation_id: str, question_id: str, message_id: str) -> str | None:
    """Write the model's answer into the message. Returns why it is incomplete, if it is."""
    told = context.read(
        scope, conversation_id, settings().chat_context_tokens, leaf=question_id
    ).messages
    length = 0
    release()  # a server of rows has fewer connections than may wait for a model
    try:
        for piece in ask(told):
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
