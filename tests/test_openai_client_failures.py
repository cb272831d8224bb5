"""Tests what OpenAI's own client meets when a model fails, a reader leaves or a request repeats."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai import OpenAI

from handlers.http.waiting import SIGN_OF_LIFE_SECONDS
from server.followers import Followers

from .support.clients import Api
from .support.local_server import eventually
from .support.model_server import ModelServer, Reply, Script, Stepwise
from .support.openai_clients import (
    WEATHER,
    Connect,
    answer,
    hex_of,
    items_in,
    listed,
    message,
    said_in,
    weatherman,
)
from .support.threads import at_once

HELLO = [("user", "Hi"), ("assistant", "Hello")]
KEY = {"Idempotency-Key": "k"}


@pytest.fixture
def model(model: ModelServer) -> ModelServer:
    model.script = answer("Hello")
    return model


@pytest.fixture
def id(client: OpenAI, model: ModelServer) -> str:
    return client.conversations.create().id


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, connect: Connect) -> OpenAI:
    """A client that repeats what failed, as it does by itself, but soon."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    return connect(max_retries=openai.DEFAULT_MAX_RETRIES)


def in_turn(*scripts: Script) -> Script:
    """A model that follows each script once."""
    left = list(scripts)

    def follow(reply: Reply) -> None:
        left.pop(0)(reply)

    return follow


def refuse(reply: Reply) -> None:
    reply.begin(500, "application/json").send(b'{"error": {"message": "no"}}').end()


def hang_up(reply: Reply) -> None:
    reply.begin().cut()


def break_off_in_a_call(reply: Reply) -> None:
    reply.begin().call("weather", '{"ci').cut()


def say_no_chunk(reply: Reply) -> None:
    reply.begin().event("no chunk").done()


BEFORE = pytest.mark.parametrize("fail", [refuse, hang_up, break_off_in_a_call, say_no_chunk])
STREAMED = pytest.mark.parametrize("streamed", [False, True])


# A model that fails


@BEFORE
@STREAMED
def test_a_model_that_fails_before_the_first_output_leaves_nothing(
    client: OpenAI, id: str, model: ModelServer, fail: Script, streamed: bool
):
    model.script = fail
    with pytest.raises(openai.InternalServerError) as raised:
        client.responses.create(input="Hi", conversation=id, tools=[WEATHER], stream=streamed)
    error = raised.value
    assert (error.status_code, error.type, error.code) == (502, "server_error", "model_failed")
    assert error.param is None
    assert error.response.headers["content-type"] == "application/json"
    assert "x-should-retry" not in error.response.headers
    assert items_in(client, id) == []


@STREAMED
def test_a_first_response_that_fails_begins_no_conversation(
    client: OpenAI, model: ModelServer, streamed: bool
):
    model.script = refuse
    with pytest.raises(openai.InternalServerError):
        client.responses.create(input="Hi", stream=streamed)
    assert listed(client) == []


@STREAMED
def test_the_client_repeats_what_failed_before_the_first_output(
    hasty: OpenAI, id: str, model: ModelServer, streamed: bool
):
    model.script = in_turn(refuse, hang_up, answer("Hello"))
    response: Any = hasty.responses.create(input="Hi", conversation=id, stream=streamed)
    if streamed:
        assert [event.type for event in response][-1] == "response.completed"
    else:
        assert response.output_text == "Hello"
    assert len(model.asked) == 3
    assert said_in(hasty, id) == HELLO


def test_the_client_gives_up_after_two_repetitions(hasty: OpenAI, id: str, model: ModelServer):
    model.script = refuse
    with pytest.raises(openai.InternalServerError):
        hasty.responses.create(input="Hi", conversation=id)
    assert len(model.asked) == 3
    assert items_in(hasty, id) == []


def test_an_answer_that_breaks_off_is_not_repeated(hasty: OpenAI, id: str, model: ModelServer):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    with pytest.raises(openai.InternalServerError) as raised:
        hasty.responses.create(input="Hi", conversation=id)
    assert (raised.value.status_code, raised.value.code) == (502, "model_failed")
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert len(model.asked) == 1
    assert said_in(hasty, id) == [("user", "Hi"), ("assistant", "Hel")]
    assert items_in(hasty, id)[1].status == "incomplete"


def test_a_stream_that_breaks_off_ends_as_failed(hasty: OpenAI, id: str, model: ModelServer):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    events: list[Any] = list(hasty.responses.create(input="Hi", conversation=id, stream=True))
    assert events[-1].type == "response.failed"
    response = events[-1].response
    assert response.id == events[0].response.id
    assert response.status == "failed"
    assert response.error.code == "server_error"
    assert response.error.message
    assert len(model.asked) == 1
    assert said_in(hasty, id) == [("user", "Hi"), ("assistant", "Hel")]
    assert items_in(hasty, id)[1].status == "incomplete"


def test_the_accumulator_takes_a_stream_that_breaks_off(
    client: OpenAI, id: str, model: ModelServer
):
    model.script = lambda reply: reply.begin().say("Hel").cut()
    with client.responses.stream(model="m", input="Hi", conversation=id) as stream:
        events: list[Any] = list(stream)
    assert events[-1].type == "response.failed"


@STREAMED
def test_a_call_that_breaks_off_after_a_text_is_not_stored(
    client: OpenAI, id: str, model: ModelServer, streamed: bool
):
    model.script = lambda reply: reply.begin().say("Let me see.").call("weather", '{"ci').cut()
    if streamed:
        events = list(client.responses.create(input="Hi", conversation=id, stream=True))
        assert events[-1].type == "response.failed"
    else:
        with pytest.raises(openai.InternalServerError):
            client.responses.create(input="Hi", conversation=id)
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Let me see.")]


def test_a_conversation_goes_on_after_a_failure(client: OpenAI, id: str, model: ModelServer):
    model.script = in_turn(lambda reply: reply.begin().say("Hel").cut(), answer("Hello"))
    with pytest.raises(openai.InternalServerError):
        client.responses.create(input="Hi", conversation=id)
    client.responses.create(input="Again", conversation=id)
    messages = model.asked[-1].body["messages"]
    assert [each["content"] for each in messages] == ["Hi", "Hel", "Again"]


# A reader that leaves


def test_the_answer_is_written_to_its_end_whoever_has_left(
    client: OpenAI, id: str, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    script.step()
    with client.responses.create(input="Hi", conversation=id, stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    script.finish()
    assert eventually(lambda: items_in(client, id)[-1].status == "completed")
    assert said_in(client, id) == HELLO


def test_a_reader_that_is_impatient_finds_the_answer_in_the_conversation(
    connect: Connect, client: OpenAI, id: str, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    script.step()
    with pytest.raises(openai.APITimeoutError):
        connect().with_options(timeout=0.3).responses.create(input="Hi", conversation=id)
    script.finish()
    assert eventually(lambda: [text for _, text in said_in(client, id)] == ["Hi", "Hello"])


def test_what_is_told_before_the_reader_waits_is_not_told_late(
    client: OpenAI, model: ModelServer, monkeypatch: pytest.MonkeyPatch
):
    """The thread that answers may be done before the loop lets the request wait."""
    park = Followers.park

    def late(*arguments: Any) -> None:
        time.sleep(0.05)
        park(*arguments)

    monkeypatch.setattr(Followers, "park", late)
    start = time.monotonic()
    (*_, last) = client.responses.create(input="Hi", store=False, stream=True)
    assert last.type == "response.completed"
    assert time.monotonic() - start < SIGN_OF_LIFE_SECONDS / 2


@contextmanager
def in_mid_answer(
    client: OpenAI, id: str, model: ModelServer
) -> Iterator[tuple[Stepwise, Iterator[Any]]]:
    """The model has said "Hel", and its reader has been told. Yield it, and what is told then."""
    model.script = script = Stepwise("Hel", "lo")
    script.step()
    with client.responses.create(input="Hi", conversation=id, stream=True) as stream:
        events: Iterator[Any] = iter(stream)
        while next(events).type != "response.output_text.delta":
            pass
        yield script, events


def test_an_answer_that_is_stopped_is_incomplete(
    client: OpenAI, id: str, model: ModelServer, other_api: Api
):
    with in_mid_answer(client, id, model) as (script, events):
        assert other_api.post(f"/api/v1/conversations/{hex_of(id)}/stop").status == 204
        script.finish()
        (*_, last) = events
    assert (last.type, last.response.incomplete_details) == ("response.incomplete", None)
    assert last.response.output_text == "Hel"
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hel")]


def test_a_model_may_be_silent_for_longer_than_a_writer(
    client: OpenAI, id: str, model: ModelServer, configure: Callable[..., None]
):
    configure(stream_timeout=3, chat_timeout=25)
    with in_mid_answer(client, id, model) as (script, events):
        time.sleep(5)
        assert items_in(client, id)[-1].status == "in_progress"
        script.finish()
        (*_, last) = events
    assert last.type == "response.completed"
    assert said_in(client, id) == HELLO


def test_a_conversation_that_is_deleted_ends_the_answer(
    client: OpenAI, id: str, model: ModelServer
):
    with in_mid_answer(client, id, model) as (script, events):
        client.conversations.delete(id)
        script.finish()
        (*_, last) = events
    assert last.type == "response.incomplete"


# A request that repeats


@STREAMED
def test_a_repeated_key_has_the_same_response(
    client: OpenAI, id: str, model: ModelServer, streamed: bool
):
    def respond(text: str = "Hi") -> Any:
        given: Any = {"model": "m", "input": text, "conversation": id, "extra_headers": KEY}
        if not streamed:
            return client.responses.create(**given)
        with client.responses.stream(**given) as stream:
            return stream.get_final_response()

    first = respond()
    again = respond()
    assert (again.id, again.output) == (first.id, first.output)
    assert len(model.asked) == 1
    assert said_in(client, id) == HELLO
    with pytest.raises(openai.BadRequestError) as raised:
        respond("Another")
    assert raised.value.code == "idempotency_key_reused"


def test_a_repeated_key_calls_a_function_once(client: OpenAI, id: str, model: ModelServer):
    model.script = weatherman(model)
    given: Any = {"input": "Weather?", "conversation": id, "tools": [WEATHER]}
    first = client.responses.create(**given, extra_headers=KEY)
    again = client.responses.create(**given, extra_headers=KEY)
    assert (again.id, again.output) == (first.id, first.output)
    assert len(items_in(client, id)) == 2


def test_a_repeated_key_without_a_conversation_has_the_same_response(
    client: OpenAI, model: ModelServer
):
    first, again = (client.responses.create(input="Hi", extra_headers=KEY) for _ in range(2))
    assert (again.id, again.output) == (first.id, first.output)
    assert len(model.asked) == 1
    client.responses.create(input="Go on", previous_response_id=again.id)
    assert len(listed(client)) == 1


def test_a_repeated_key_is_told_that_the_first_request_still_runs(
    connect: Connect, id: str, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    first: list[Any] = []
    client = connect()
    given: Any = {"input": "Hi", "conversation": id, "extra_headers": KEY}
    begun = threading.Thread(target=lambda: first.append(client.responses.create(**given)))
    begun.start()
    try:
        assert eventually(lambda: len(model.asked) == 1)
        with pytest.raises(openai.ConflictError) as raised:
            connect().responses.create(**given)
    finally:
        script.finish()
        begun.join()
    error = raised.value
    assert (error.type, error.code) == ("invalid_request_error", "request_in_progress")
    again = client.responses.create(**given)
    assert (again.id, again.output) == (first[0].id, first[0].output)
    assert len(model.asked) == 1


def test_a_key_whose_model_failed_before_the_first_output_may_be_used_again(
    client: OpenAI, id: str, model: ModelServer
):
    model.script = in_turn(refuse, answer("Hello"))
    with pytest.raises(openai.InternalServerError):
        client.responses.create(input="Hi", conversation=id, extra_headers=KEY)
    response = client.responses.create(input="Hi", conversation=id, extra_headers=KEY)
    assert response.output_text == "Hello"
    assert said_in(client, id) == HELLO


# Two requests at once


@pytest.mark.usefixtures("either_store")
def test_two_requests_in_one_conversation_are_both_answered(
    connect: Connect, id: str, model: ModelServer
):
    both_are_asked = threading.Barrier(2)

    def together(reply: Reply) -> None:
        both_are_asked.wait(10)
        answer("Hello")(reply)

    model.script = together
    clients = [connect(), connect()]
    jobs: list[Callable[[], Any]] = [
        lambda: clients[0].responses.create(input="one", conversation=id),
        lambda: list(clients[1].responses.create(input="two", conversation=id, stream=True)),
    ]
    response, events = at_once(*jobs)
    assert response.output_text == "Hello"
    assert events[-1].type == "response.completed"
    assert sorted(said_in(clients[0], id)) == [
        ("assistant", "Hello"),
        ("assistant", "Hello"),
        ("user", "one"),
        ("user", "two"),
    ]
    found = {item.id for item in items_in(clients[0], id)}
    assert {response.output[0].id, events[-1].response.output[0].id} < found


def test_items_may_be_added_while_an_answer_is_written(client: OpenAI, id: str, model: ModelServer):
    model.script = script = Stepwise("Hel", "lo")
    script.step()
    with client.responses.create(input="Hi", conversation=id, stream=True) as stream:
        events = iter(stream)
        while next(events).type != "response.output_text.delta":
            pass
        client.conversations.items.create(id, items=[message("Wait")])
        script.finish()
        assert [event.type for event in events][-1] == "response.completed"
    assert said_in(client, id) == [*HELLO, ("user", "Wait")]
