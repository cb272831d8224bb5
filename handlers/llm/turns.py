"""A turn of a chat: the question is stored, the model asked, its answer stored as it comes."""

import json
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

from db import context, idempotency_keys, messages, streams, turns
from db.chat_messages import ChatMessage
from db.chat_parts import Call
from db.engine.database import release
from db.errors import (
    ConversationNotFound,
    MessageNotFound,
    OffsetConflict,
    RequestInProgress,
    StreamFinished,
)
from db.idempotency_keys import Claim, Outcome
from db.messages import Draft
from db.models import COMPLETED, IN_PROGRESS, INCOMPLETE, MessageRow
from db.scope import Scope
from db.settings import settings
from db.turns import Begun

from . import client, echo
from .client import End, Line, ModelError, Options, Piece
from .signs_of_life import signs_of_life

# Somebody else has ended the answer, or changed or deleted it.
ENDED = (StreamFinished, OffsetConflict, ConversationNotFound, MessageNotFound)
# Why a model ends an answer before it is whole.
CUT_SHORT = ("length", "content_filter")
NO_OPTIONS = Options()
lines: dict[str, Line] = {}  # of the answers that this process writes, by their ids

log = logging.getLogger("confab")


class Turn(NamedTuple):
    """A question and its answer, as they are stored."""

    question: MessageRow
    answer: MessageRow
    failure: str | None  # one sentence: why the answer is incomplete


def take(scope: Scope, conversation_id: str, question: Draft, claim: Claim | None = None) -> Begun:
    """Say something in a conversation, and open the model's answer. `answer` writes it.

    The two messages and the `claim` commit together. So a retry finds them by their ids, whatever
    became of the first request, and asks no model again. So does one with the `client_id` of the
    question. Raises as `turns.begin` does, IdempotencyKeyReused, RequestInProgress.
    """
    return _once(claim, lambda: turns.begin(scope, conversation_id, question))


def retake(
    scope: Scope, conversation_id: str, question_id: str, claim: Claim | None = None
) -> Begun:
    """Open another answer to a question, beside those that it has.

    As `take`. Raises as `turns.begin_again` does.
    """
    return _once(claim, lambda: turns.begin_again(scope, conversation_id, question_id))


def _once(claim: Claim | None, begin: Callable[[], Begun]) -> Begun:
    """What `begin` returns, or what it returned for an earlier request with the claim."""
    if claim is None:
        return begin()

    def outcome() -> Outcome:
        return Outcome(reference=json.dumps(begin()))

    stored, is_replayed = idempotency_keys.once(claim, outcome)
    begun = Begun(*json.loads(stored.reference or "[]"))
    is_known = is_replayed or begun.is_known
    return begun._replace(is_known=is_known, is_well=stored.status is not None)


def note_well(claim: Claim, begun: Begun) -> None:
    """Note that the answer is incomplete and no model has failed, for those who repeat the request:
    somebody has stopped it, or the model has cut it short.
    """
    idempotency_keys.settle(claim, Outcome(status=200, reference=json.dumps(begun[:2])))


def read(scope: Scope, conversation_id: str, begun: Begun, failure: str | None = None) -> Turn:
    """What is stored of a turn. `failure` is what `answer` returned, if this request called it.

    Raises RequestInProgress if another one is still answering, and MessageNotFound if somebody has
    deleted the question or the answer.
    """
    question = messages.find(scope, conversation_id, begun.question_id)
    answer = messages.find(scope, conversation_id, begun.answer_id)
    if answer.status == IN_PROGRESS:
        raise RequestInProgress(
            "The first request for this question is still being answered: follow /events."
        )
    if begun.is_known and not begun.is_well and answer.status == INCOMPLETE:
        failure = "The model did not answer to the end when this was asked first."
    return Turn(question, answer, failure)


def ask(history: Sequence[ChatMessage], options: Options, line: Line) -> Generator[Piece]:
    """The model's answer to a conversation, piece by piece as it arrives, then its calls, then its
    end.

    Raises ModelError at any point. What was yielded before is good.
    """
    model: Any = echo if settings().chat_base_url is None else client
    half = ""  # of a character that the model has cut in two
    with closing(model.ask(history, options, line)) as pieces:
        for piece in pieces:
            if isinstance(piece, str):
                text = half + piece
                half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
                yield _storable(text.removesuffix(half))
                continue
            if half:
                yield _storable(half)
                half = ""
            yield Call(*map(_storable, piece)) if isinstance(piece, Call) else piece
    if half:
        yield _storable(half)


def hang_up(answer_ids: Sequence[str]) -> None:
    """Let go of the models that write these answers in this process. Others hear of it when they
    have a next piece.
    """
    for id in answer_ids:
        if (line := lines.get(id)) is not None:
            line.hang_up()


def answer(
    scope: Scope,
    conversation_id: str,
    begun: Begun,
    options: Options = NO_OPTIONS,
    on_failure: Callable[[str], object] = lambda reason: None,
) -> str | None:
    """Ask the model, and store its answer while it arrives. Returns why it failed, if it did.

    `on_failure` is told so before it is stored that the answer has ended. What came before it
    failed stays stored. If the model calls tools, the answer's content becomes a list of parts. If
    somebody ends or deletes the answer meanwhile, the model is hung up on with its next piece.
    """
    length, text, line = 0, "", Line()
    calls: list[Call] = []
    end = End()
    lines[begun.answer_id] = line

    def write(piece: str, status: str | None = None) -> None:
        nonlocal length
        streams.append(scope, conversation_id, begun.answer_id, length, piece, status)
        length += len(piece)
        release()  # a server of rows has fewer connections than may wait for a model

    try:
        told = context.read(
            scope, conversation_id, settings().chat_context_tokens, leaf=begun.question_id
        ).messages
        release()
        try:
            with (
                signs_of_life(scope, conversation_id, begun.answer_id, lambda: length),
                closing(ask(told, options, line)) as pieces,
            ):
                for piece in pieces:
                    if isinstance(piece, Call):
                        calls.append(piece)
                    elif isinstance(piece, str):
                        text += piece
                        write(piece)
                    else:
                        end = piece
        except ModelError as error:
            if line.is_hung_up:  # whoever did so ends the answer, but may not have committed yet
                streams.stop(scope, conversation_id, begun.answer_id)
                return None
            log.warning("%s", error, exc_info=error.__cause__)
            on_failure(str(error))
            write("", INCOMPLETE)
            return str(error)
        calls = whole_calls(calls, end)
        if calls:
            parts = [{"type": "text", "text": text}] * bool(text)
            parts += [{"type": "tool_call", **call._asdict()} for call in calls]
            place = scope, conversation_id, begun.answer_id
            turns.finish_with_parts(*place, length, parts, status_at(end))
        else:
            write("", status_at(end))
    except ENDED:
        log.info("The answer %s was ended or changed by others.", begun.answer_id)
        give_up(scope, conversation_id, begun.answer_id)
    except Exception:
        on_failure("The answer could not be stored to its end: ask again.")
        give_up(scope, conversation_id, begun.answer_id)
        raise
    finally:
        del lines[begun.answer_id]
    return None


def give_up(scope: Scope, conversation_id: str, answer_id: str) -> None:
    """Let an answer end where it is."""
    with suppress(Exception):  # else a writer that is silent ends it
        streams.stop(scope, conversation_id, answer_id)


def whole_calls(calls: list[Call], end: End) -> list[Call]:
    """The calls of a whole answer, without one in whose arguments it was cut short."""
    return [call for call in calls if end.reason not in CUT_SHORT or _is_json(call.arguments)]


def status_at(end: End) -> str:
    return INCOMPLETE if end.reason in CUT_SHORT else COMPLETED


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _storable(text: str) -> str:
    """`text` without what no database stores: NUL, and halves of surrogate pairs."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")
