"""OpenAI's responses: a model is asked, in a conversation or without one."""

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from chalice.app import Blueprint
from pydantic_core import from_json, to_json

from db import answers, context, idempotency_keys
from db.answers import Place
from db.chat_messages import ChatMessage
from db.errors import Invalid, NotFound, RequestInProgress
from db.idempotency_keys import Claim, Outcome
from db.messages import ACTIVE_LEAF, Draft
from db.models import COMPLETED, IN_PROGRESS, INCOMPLETE
from db.openai_ids import CONVERSATION, RESPONSE, shown_id
from db.settings import settings

from ..http import sse
from ..http.aside import aside
from ..http.caller import Caller, OpenAICaller
from ..http.endpoint import ANY, JSON, OUTSIDE, Reply, endpoint
from ..http.headers import REPLAYED, SHOULD_RETRY
from ..http.logs import log
from ..http.problems import (
    INVALID,
    MODEL_FAILED,
    NO_CONVERSATION,
    Problem,
)
from ..http.sse import EVENT_STREAM
from ..http.telling import TellingWait
from ..http.waiting import body_of
from ..llm.client import End, ModelError
from ..llm.exchanges import Exchange
from .conversations import project_of
from .errors import NO_PREVIOUS
from .response_events import (
    ModelResponse,
    ResponseEvents,
    ended,
    new_response,
    output_of,
    told_whole,
)
from .response_request import ResponseCreate
from .wire import draft_of_call, shown_item

routes = Blueprint(__name__)

# The client shall not repeat a request of which a part is stored.
NOT_AGAIN = {SHOULD_RETRY: "false"}
MARGIN_SECONDS = 10  # by which a request may take longer than the model has
NO_HEADERS: Mapping[str, str] = {}


@routes.route("/v1/responses", methods=["POST"], content_types=ANY)
@endpoint(
    media_types=(JSON, EVENT_STREAM),
    problems=(NO_CONVERSATION, MODEL_FAILED),
    sends=(*sse.HEADERS, SHOULD_RETRY),
    waits_for=OUTSIDE,
)
def create_response(
    caller: OpenAICaller, body: ResponseCreate, claim: Claim | None = None
) -> Reply[ModelResponse]:
    """OpenAI: ask the model, in a conversation or without one.

    `input` and answer are stored when the answer begins. When the model fails before, nothing is
    stored. When it fails later, the text that came stays; the response is 502 with `x-should-retry:
    false`, or with `stream` it ends with `response.failed`. With `stream`, events tell the answer
    as it comes, unless the response goes through a gateway that buffers. The answer is written to
    its end whoever reads it.
    """
    if claim is not None:
        first = idempotency_keys.reserve(claim, settings().chat_timeout + MARGIN_SECONDS)
        if first is not None:
            return _again(caller, body, first)
    try:
        return _answered(caller, body, claim)
    except Exception:
        if claim is not None:
            with suppress(Exception):  # else it is free when the time of an answer is over
                idempotency_keys.give_back(claim)
        raise


def _answered(caller: Caller, body: ResponseCreate, claim: Claim | None) -> Reply[ModelResponse]:
    place, said = _place_of(caller, body), body.drafts()
    history = _history(caller, body, place, said)
    exchange = Exchange(caller.scope, place, said, draft_of_call, claim)
    try:
        exchange.begin(history, body.options())
        is_live = body.stream and exchange.text_id is not None  # calls come together
        if not is_live:
            for _ in exchange.pieces():
                pass
    except ModelError as error:
        raise Problem(MODEL_FAILED, str(error)) from error
    except Invalid as error:
        if error.field == "parent_id":  # the answer has been deleted while the model thought
            raise _no_previous(body) from error
        raise
    response = _begun(body, exchange.id, exchange.conversation_id)
    answer = _Answer(caller, body, exchange, response, claim)
    if not is_live:
        return _told(body, answer.finish())
    events = ResponseEvents(response)
    events.begin_text(str(exchange.text_id))

    def tell() -> None:
        try:
            for piece in exchange.pieces():
                events.say(piece)
            events.end(answer.finish())
        finally:
            events.telling.end()

    aside(tell)
    seconds = settings().chat_timeout + settings().stream_timeout
    return _streamed(body_of(TellingWait(events.telling, seconds, sse.SIGN_OF_LIFE)))


def _told(
    body: ResponseCreate, response: ModelResponse, headers: Mapping[str, str] = NO_HEADERS
) -> Reply[ModelResponse]:
    """A response that is there to its end. Raises Problem 502 for one that has failed."""
    if body.stream:
        return _streamed(told_whole(response), headers)
    if response.error is not None:
        raise Problem(MODEL_FAILED, response.error["message"], {**NOT_AGAIN, **headers})
    return Reply(response, {**headers})


def _streamed(body: str, headers: Mapping[str, str] = NO_HEADERS) -> Reply[ModelResponse]:
    return Reply(body, {**sse.HEADERS, **headers}, media_type=EVENT_STREAM)  # type: ignore[arg-type]


def _place_of(caller: Caller, body: ResponseCreate) -> Place | None:
    if body.conversation is not None:
        return Place(body.conversation)
    if body.previous_response_id is None:
        return None
    try:
        return answers.place_behind(caller.scope, body.previous_response_id)
    except NotFound:
        raise _no_previous(body) from None


def _no_previous(body: ResponseCreate) -> Problem:
    name = shown_id(RESPONSE, str(body.previous_response_id))
    message = f"{name} is not stored, or not any more"
    wrong = {"loc": ["body", "previous_response_id"], "msg": message, "type": NO_PREVIOUS}
    detail = f"{message}: send what was said before as input, or in a conversation."
    return Problem(INVALID, detail, errors=[wrong])


def _history(
    caller: Caller, body: ResponseCreate, place: Place | None, said: list[Draft]
) -> list[ChatMessage]:
    """What the model is told. Raises Problem 422 if that is nothing."""
    most = settings().chat_context_tokens
    if place is None or place.kept is not None:
        before = place.kept.messages if place and place.kept else []
        told = context.of_drafts(most, body.instructions, [*before, *said])
    else:
        leaf_id = None if place.parent_id is ACTIVE_LEAF else place.parent_id
        told = context.read(
            caller.scope, str(place.conversation_id), most, leaf_id, body.instructions, said
        )
    if len(told.messages) > bool((body.instructions or "").strip()):  # a blank one is not told
        return told.messages
    wrong = {"loc": ["body", "input"], "msg": "has nothing to be told", "type": "missing"}
    detail = "There is nothing to answer: send an input that a model can be told."
    raise Problem(INVALID, detail, errors=[wrong])


def _begun(body: ResponseCreate, id: str, conversation_id: str | None) -> ModelResponse:
    place = {"id": shown_id(CONVERSATION, conversation_id)} if conversation_id else None
    return new_response(shown_id(RESPONSE, id), conversation=place, **body.echoed())


class _Answer(NamedTuple):
    """What is needed to say how a response has ended."""

    caller: Caller
    body: ResponseCreate
    exchange: Exchange
    response: ModelResponse
    claim: Claim | None

    def finish(self) -> ModelResponse:
        """The response as it stays. It is noted for those who repeat the request or go on."""
        it = self.exchange
        output = output_of(it.text_id, it.text, it.status, it.calls)
        final = ended(self.response, it.status, output, it.end, it.failure)
        try:
            if self.claim is not None:
                outcome = Outcome(200, "{}", to_json(final).decode())
                idempotency_keys.settle(self.claim, outcome)
            if it.conversation_id is None and self.body.store is not False:
                project_id = project_of(self.caller)
                answers.keep(self.caller.scope, project_id, it.id, it.said, it.messages())
        except Exception:  # the answer is stored, and nobody shall ask again for this
            log.exception("The end of a response could not be noted")
        return final


def _again(caller: Caller, body: ResponseCreate, first: Outcome) -> Reply[ModelResponse]:
    """The response to a request that is repeated."""
    if first.body is not None:
        response = ModelResponse(**from_json(first.body))
    else:  # the process that answered it was killed, or is still at work
        conversation_id, id, rows = answers.referred_to(caller.scope, first)
        if any(row.status == IN_PROGRESS for row in rows):
            raise RequestInProgress("The first request with this Idempotency-Key still runs.")
        is_whole = all(row.status == COMPLETED for row in rows)
        status = COMPLETED if is_whole else INCOMPLETE
        output = [shown_item(row) for row in rows]
        response = ended(_begun(body, id, conversation_id), status, output, End())
    return _told(body, response, REPLAYED)
