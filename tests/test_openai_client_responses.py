"""Tests responses with OpenAI's own client: answers, calls of functions, streams, branches."""

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from .support.clients import Api
from .support.model_server import ModelServer, Reply, Stepwise
from .support.openai_clients import (
    CALL,
    OUTPUT,
    USAGE,
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
from .support.world import PROJECT

TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
CALL_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.completed",
]
HELLO_USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}


@pytest.fixture
def model(model: ModelServer) -> ModelServer:
    model.script = answer("Hello, ", "world")
    return model


@pytest.fixture
def id(client: OpenAI, model: ModelServer) -> str:
    return client.conversations.create().id


def told(model: ModelServer, at: int = -1) -> list[tuple[str, Any]]:
    """The roles and the contents that the model was told."""
    return [(each["role"], each.get("content")) for each in model.asked[at].body["messages"]]


def ids_in(client: OpenAI, id: str) -> list[str]:
    return [item.id for item in items_in(client, id)]


# Text


def test_a_question_is_answered(client: OpenAI, id: str, model: ModelServer):
    before = int(time.time())
    response: Any = client.responses.create(
        model="m", input="Hi", conversation=id, metadata={"a": "b"}, temperature=0.5
    )
    assert response.output_text == "Hello, world"
    assert (response.object, response.status, response.model) == ("response", "completed", "m")
    assert before <= response.created_at <= time.time()
    assert response.conversation.id == id
    assert response.usage.to_dict() == HELLO_USAGE
    assert (response.metadata, response.temperature, response.store) == ({"a": "b"}, 0.5, True)
    assert (response.error, response.incomplete_details) == (None, None)
    (output,) = response.output
    assert output.type == "message"
    assert (output.role, output.status) == ("assistant", "completed")
    assert [part.to_dict() for part in output.content] == [
        {"type": "output_text", "text": "Hello, world", "annotations": [], "logprobs": []}
    ]
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hello, world")]
    assert ids_in(client, id)[1] == output.id
    assert response.id == f"resp_{hex_of(output.id)}"


def test_the_fields_of_a_response_are_in_their_order(client: OpenAI, id: str):
    raw = client.responses.with_raw_response.create(input="Hi", conversation=id)
    assert list(raw.http_response.json()) == [
        "id", "object", "created_at", "status", "error", "incomplete_details", "instructions",
        "max_output_tokens", "model", "output", "parallel_tool_calls", "previous_response_id",
        "reasoning", "store", "temperature", "text", "tool_choice", "tools", "top_p", "truncation",
        "usage", "metadata", "conversation",
    ]  # fmt: skip


def test_the_model_is_told_the_conversation(client: OpenAI, id: str, model: ModelServer):
    client.conversations.items.create(
        id, items=[message("Be brief.", "developer"), message("Hi"), message("Yes?", "assistant")]
    )
    client.responses.create(model="m", input=[message("How are you?")], conversation={"id": id})
    (asked,) = model.asked
    assert asked.path == "/v1/chat/completions"
    assert told(model) == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Yes?"),
        ("user", "How are you?"),
    ]
    assert asked.body["model"] == "m"
    assert asked.body["stream"] is True
    assert asked.body["stream_options"] == {"include_usage": True}
    assert "authorization" not in asked.headers  # the client's key is ours


def test_the_conversation_alone_is_asked(client: OpenAI, id: str, model: ModelServer):
    client.conversations.items.create(id, items=[message("Hi")])
    assert client.responses.create(conversation=id).output_text == "Hello, world"
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hello, world")]
    assert model.asked[0].body["model"] == "gpt-4o-mini"


def test_instructions_are_told_first_and_not_stored(client: OpenAI, id: str, model: ModelServer):
    client.responses.create(input="Hi", conversation=id)
    response = client.responses.create(input="Again", conversation=id, instructions="Be brief.")
    assert response.instructions == "Be brief."
    assert told(model)[:2] == [("system", "Be brief."), ("user", "Hi")]
    client.responses.create(input="And again", conversation=id)
    assert "system" not in dict(told(model))
    assert {kind for kind, _ in said_in(client, id)} == {"user", "assistant"}


def test_a_text_is_streamed(client: OpenAI, id: str, model: ModelServer):
    events: list[Any] = list(client.responses.create(input="Hi", conversation=id, stream=True))
    assert [event.type for event in events] == TEXT_EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    created, _, added, part, first, second, text_done, part_done, done, completed = events
    assert created.response.output == []
    assert created.response.status == "in_progress"
    assert {event.response.id for event in (events[0], events[1], completed)} == {
        completed.response.id
    }
    assert (added.item.status, added.item.content) == ("in_progress", [])
    assert part.part.text == ""
    assert first.delta + second.delta == text_done.text == part_done.part.text == "Hello, world"
    assert {event.item_id for event in events[3:8]} == {added.item.id, done.item.id}
    assert {event.output_index for event in events[2:9]} == {0}
    assert completed.response.output == [done.item]
    assert completed.response.usage.to_dict() == HELLO_USAGE
    assert completed.response.conversation.id == id
    assert ids_in(client, id)[1] == done.item.id
    assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hello, world")]


def test_a_stream_has_the_bytes_of_its_grammar(client: OpenAI, id: str):
    with client.responses.with_streaming_response.create(
        input="Hi", conversation=id, stream=True
    ) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        body = raw.read().decode()
    blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    assert len(blocks) == len(TEXT_EVENTS)
    for type, block in zip(TEXT_EVENTS, blocks, strict=True):
        assert block.startswith(f'event: {type}\ndata: {{"type":')
    assert "[DONE]" not in body


def test_pieces_arrive_as_the_model_says_them(client: OpenAI, id: str, model: ModelServer):
    model.script = script = Stepwise("Hel", "lo")
    script.step()
    with client.responses.create(input="Hi", conversation=id, stream=True) as stream:
        events = iter(stream)
        while (event := next(events)).type != "response.output_text.delta":
            pass
        assert event.delta == "Hel"
        (_, growing) = items_in(client, id)
        assert growing.status == "in_progress"
        assert growing.content[0].text == "Hel"
        script.finish()
        assert [event.type for event in events] == TEXT_EVENTS[5:]
    assert [item.status for item in items_in(client, id)] == ["completed", "completed"]


def test_the_clients_accumulator_has_the_whole_response(client: OpenAI, id: str):
    with client.responses.stream(model="m", input="Hi", conversation=id) as stream:
        events: list[Any] = list(stream)
        final: Any = stream.get_final_response()
    snapshots = [event.snapshot for event in events if event.type.endswith("text.delta")]
    assert snapshots[-1] == final.output_text == "Hello, world"
    assert final.output[0].id == ids_in(client, id)[1]


class Weather(BaseModel):
    city: str
    degrees: int


def test_a_structured_answer_is_parsed(client: OpenAI, id: str, model: ModelServer):
    model.script = answer('{"city": "Paris",', ' "degrees": 21}')
    parsed = client.responses.parse(
        model="m", input="Weather?", conversation=id, text_format=Weather
    )
    assert parsed.output_parsed == Weather(city="Paris", degrees=21)
    schema = model.asked[0].body["response_format"]
    assert schema["type"] == "json_schema"
    assert set(schema["json_schema"]) == {"name", "schema", "strict"}
    assert schema["json_schema"]["name"] == "Weather"
    assert schema["json_schema"]["schema"]["required"] == ["city", "degrees"]
    assert parsed.text is not None
    assert parsed.text.format is not None
    assert parsed.text.format.type == "json_schema"
    with client.responses.stream(
        model="m", input="Weather?", conversation=id, text_format=Weather
    ) as stream:
        assert stream.get_final_response().output_parsed == parsed.output_parsed


def test_options_go_upstream_in_its_shape(client: OpenAI, id: str, model: ModelServer):
    response = client.responses.create(
        model="m",
        input="Hi",
        conversation=id,
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        temperature=0.25,
        top_p=0.5,
        max_output_tokens=100,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
    )
    asked = model.asked[0].body
    function = {name: value for name, value in WEATHER.items() if name != "type"}
    assert asked["tools"] == [{"type": "function", "function": function}]
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert asked["parallel_tool_calls"] is False
    assert (asked["temperature"], asked["top_p"]) == (0.25, 0.5)
    assert asked["max_completion_tokens"] == 100
    assert asked["reasoning_effort"] == "low"
    assert asked["response_format"] == {"type": "json_object"}
    assert (response.temperature, response.top_p) == (0.25, 0.5)
    assert response.max_output_tokens == 100
    assert response.parallel_tool_calls is False
    assert [tool.to_dict() for tool in response.tools] == [WEATHER]
    assert response.reasoning is not None
    assert response.reasoning.effort == "low"


def test_options_without_effect_are_taken(client: OpenAI, id: str, model: ModelServer):
    response = client.responses.create(
        model="m", input="Hi", conversation=id, include=["message.output_text.logprobs"],
        metadata={"a": "b"}, store=True, user="u", safety_identifier="s", truncation="auto",
        service_tier="auto", stream_options={"include_obfuscation": False}, max_tool_calls=3,
        top_logprobs=2, prompt_cache_key="k", prompt_cache_retention="24h",
    )  # fmt: skip
    assert response.output_text == "Hello, world"
    assert response.metadata == {"a": "b"}
    assert set(model.asked[0].body) == {"model", "messages", "stream", "stream_options"}


def test_null_is_as_good_as_nothing(client: OpenAI, id: str, model: ModelServer):
    names = (
        "model instructions stream tools tool_choice parallel_tool_calls temperature top_p "
        "max_output_tokens reasoning text metadata store include truncation service_tier "
        "previous_response_id background prompt context_management moderation user"
    )
    body = {"input": "Hi", "conversation": id, **dict.fromkeys(names.split())}
    assert client.responses.create(extra_body=body).output_text == "Hello, world"
    assert set(model.asked[0].body) == {"model", "messages", "stream", "stream_options"}


def test_input_has_any_number_of_items(client: OpenAI, id: str, model: ModelServer):
    numbers = [str(number) for number in range(150)]
    client.responses.create(input=[message(number) for number in numbers], conversation=id)
    assert told(model) == [("user", number) for number in numbers]
    assert [text for _, text in said_in(client, id)] == [*numbers, "Hello, world"]


def test_an_answer_without_usage_has_none(client: OpenAI, id: str, model: ModelServer):
    model.script = lambda reply: reply.begin().say("Hello").done()
    response = client.responses.create(input="Hi", conversation=id)
    assert (response.output_text, response.usage) == ("Hello", None)


def test_pictures_and_files_are_told(client: OpenAI, id: str, model: ModelServer):
    url, data = "data:image/png;base64,AA==", "data:application/pdf;base64,AA=="
    parts: Any = [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": url, "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": data},
    ]
    client.responses.create(input=[{"role": "user", "content": parts}], conversation=id)
    ((role, content),) = told(model)
    assert role == "user"
    assert content == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": data}},
    ]


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_that_is_cut_short_is_incomplete(
    client: OpenAI, id: str, model: ModelServer, finish_reason: str, reason: str, streamed: bool
):
    model.script = lambda reply: reply.begin().say("Hel").finish(finish_reason).done()
    if streamed:
        events = list(client.responses.create(input="Hi", conversation=id, stream=True))
        last: Any = events[-1]
        assert last.type == "response.incomplete"
        response = last.response
    else:
        response = client.responses.create(input="Hi", conversation=id)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == reason
    assert response.output_text == "Hel"
    assert response.output[0].status == "incomplete"
    stored = items_in(client, id)[1]
    assert (stored.id, stored.status) == (response.output[0].id, "incomplete")


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_without_text_and_calls_has_no_output(
    client: OpenAI, id: str, model: ModelServer, streamed: bool
):
    model.script = lambda reply: reply.begin().finish("stop").usage(**USAGE).done()
    if streamed:
        with client.responses.stream(model="m", input="Hi", conversation=id) as stream:
            response: Any = stream.get_final_response()
    else:
        response = client.responses.create(input="Hi", conversation=id)
    assert (response.status, response.output, response.output_text) == ("completed", [], "")
    assert client.responses.create(input="Are you there?", conversation=id).id != response.id


def test_without_a_model_the_echo_answers(client: OpenAI, configure: Callable[..., None]):
    response = client.responses.create(input="Hi")
    assert "Hi" in response.output_text
    assert response.status == "completed"


# Functions


@pytest.mark.usefixtures("either_store")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_is_called_and_its_output_answered(
    client: OpenAI, id: str, model: ModelServer, streamed: bool
):
    model.script = weatherman(model)

    def respond(input: Any) -> Any:
        given: Any = {"model": "m", "input": input, "conversation": id, "tools": [WEATHER]}
        if not streamed:
            return client.responses.create(**given)
        with client.responses.stream(**given) as stream:
            return stream.get_final_response()

    first = respond("Weather?")
    (call,) = first.output
    assert (call.type, call.name, call.call_id) == ("function_call", "weather", "call_1")
    assert (call.arguments, call.status) == ('{"city":"Paris"}', "completed")
    assert call.id.startswith("fc_")
    assert first.id == f"resp_{hex_of(call.id)}"
    second = respond([{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}])
    assert second.output_text == "It is sunny."
    assert said_in(client, id) == [
        ("user", "Weather?"),
        ("function_call", 'weather({"city":"Paris"})'),
        ("function_call_output", "sunny"),
        ("assistant", "It is sunny."),
    ]
    assert ids_in(client, id)[1] == call.id
    _, asked, told_back = model.asked[1].body["messages"]
    assert asked == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
            }
        ],
    }
    assert told_back == {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


def test_a_call_is_streamed_when_it_is_whole(client: OpenAI, id: str, model: ModelServer):
    model.script = weatherman(model)
    events: list[Any] = list(
        client.responses.create(input="Weather?", conversation=id, tools=[WEATHER], stream=True)
    )
    assert [event.type for event in events] == CALL_EVENTS
    _, _, added, delta, arguments, done, completed = events
    assert (added.item.name, added.item.arguments) == ("weather", "")
    assert added.item.status == "in_progress"
    assert delta.delta == arguments.arguments == done.item.arguments == '{"city":"Paris"}'
    assert arguments.name == "weather"
    assert {added.item.id, delta.item_id, arguments.item_id} == {done.item.id}
    assert completed.response.output == [done.item]
    assert completed.response.id == events[0].response.id


@pytest.mark.parametrize("streamed", [False, True])
def test_a_text_and_two_calls_are_three_items(
    client: OpenAI, id: str, model: ModelServer, streamed: bool
):
    def both(reply: Reply) -> None:
        reply.begin().say("Let me ", "see.").call("weather", '{"city":"Paris"}', id="c1")
        reply.call("weather", '{"city":"Rome"}', id="c2", index=1).finish("tool_calls").done()

    model.script = both
    given: Any = {"model": "m", "input": "?", "conversation": id, "tools": [WEATHER]}
    if streamed:
        with client.responses.stream(**given) as stream:
            response: Any = stream.get_final_response()
    else:
        response = client.responses.create(**given)
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    assert [item.id for item in response.output] == ids_in(client, id)[1:]
    assert response.output_text == "Let me see."
    model.script = answer("Done")
    outputs: Any = [
        {"type": "function_call_output", "call_id": call_id, "output": call_id}
        for call_id in ("c2", "c1")
    ]
    client.responses.create(input=outputs, conversation=id)
    roles = [role for role, _ in told(model)]
    assert roles == ["user", "assistant", "tool", "tool"]
    spoken = model.asked[-1].body["messages"][1]
    assert spoken["content"] == "Let me see."
    assert [call["id"] for call in spoken["tool_calls"]] == ["c1", "c2"]


@pytest.mark.parametrize("item", [CALL, OUTPUT], ids=["call", "output"])
def test_no_conversation_is_stuck_with_half_a_call(
    client: OpenAI, id: str, model: ModelServer, item: Any
):
    client.conversations.items.create(id, items=[message("Hi"), item])
    assert client.responses.create(input="Go on", conversation=id).output_text == "Hello, world"
    assert told(model) == [("user", "Hi"), ("user", "Go on")]


def test_items_of_other_types_are_stored_and_not_told(client: OpenAI, id: str, model: ModelServer):
    items: Any = [{"type": "reasoning", "id": "rs_1", "summary": []}, {"type": "new"}]
    client.responses.create(input=[*items, message("Hi")], conversation=id)
    assert told(model) == [("user", "Hi")]
    assert [item.type for item in items_in(client, id)][:3] == ["reasoning", "new", "message"]


def test_calls_of_another_dialect_are_told_here(
    client: OpenAI, id: str, model: ModelServer, other_api: Api
):
    path = f"/api/v1/conversations/{hex_of(id)}/messages"
    client.conversations.items.create(id, items=[message("Weather?"), CALL, OUTPUT])
    assert other_api.post(path, {"role": "user", "content": "And?"}).status == 201
    client.responses.create(conversation=id)
    assert [role for role, _ in told(model)] == ["user", "assistant", "tool", "user"]


# Where an answer is stored


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_without_a_conversation_becomes_one_when_somebody_goes_on(
    connect: Connect, model: ModelServer, other_api: Api, streamed: bool
):
    client = connect(project=PROJECT)

    def respond(text: str, **fields: Any) -> Any:
        if not streamed:
            return client.responses.create(input=text, **fields)
        with client.responses.stream(model="m", input=text, **fields) as stream:
            return stream.get_final_response()

    first = respond("one")
    assert first.conversation is None
    assert listed(client) == []
    second = respond("two", previous_response_id=first.id)
    id = second.conversation.id
    assert listed(client) == [id]
    hello = ("assistant", "Hello, world")
    assert told(model) == [("user", "one"), hello, ("user", "two")]
    assert said_in(client, id) == [*told(model), hello]
    assert ids_in(client, id)[1::2] == [first.output[0].id, second.output[0].id]
    row = other_api.get(f"/api/v1/conversations/{hex_of(id)}").json
    assert row["project_id"] == PROJECT
    branch = respond("zwei", previous_response_id=first.id)
    assert branch.conversation.id == id
    assert said_in(client, id) == [("user", "one"), hello, ("user", "zwei"), hello]


@pytest.mark.parametrize("streamed", [False, True])
def test_what_shall_not_be_stored_is_not(client: OpenAI, model: ModelServer, streamed: bool):
    if streamed:
        with client.responses.stream(model="m", input="Hi", store=False) as stream:
            response: Any = stream.get_final_response()
    else:
        response = client.responses.create(input="Hi", store=False)
    assert response.output_text == "Hello, world"
    assert response.conversation is None
    assert response.store is False
    assert listed(client) == []
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        client.responses.create(input="Go on", previous_response_id=response.id)


def test_a_response_goes_on_from_another(client: OpenAI, id: str, model: ModelServer):
    first = client.responses.create(input="one", conversation=id)
    second = client.responses.create(input="two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.conversation == first.conversation
    third = client.responses.create(input="three", previous_response_id=second.id)
    hello = ("assistant", "Hello, world")
    assert told(model) == [("user", "one"), hello, ("user", "two"), hello, ("user", "three")]
    assert said_in(client, id) == [*told(model), hello]
    assert ids_in(client, id)[-1] == third.output[0].id


def test_a_response_that_goes_on_elsewhere_is_a_branch(
    client: OpenAI, id: str, model: ModelServer, other_api: Api
):
    first = client.responses.create(input="one", conversation=id)
    client.responses.create(input="two", conversation=id)
    branch = client.responses.create(
        input="zwei", previous_response_id=first.id, instructions="Be brief."
    )
    hello = ("assistant", "Hello, world")
    assert told(model) == [("system", "Be brief."), ("user", "one"), hello, ("user", "zwei")]
    assert said_in(client, id) == [("user", "one"), hello, ("user", "zwei"), hello]
    assert ids_in(client, id)[-1] == branch.output[0].id
    path = f"/api/v1/conversations/{hex_of(id)}/messages"
    assert len(other_api.get(path, branch="all").json["messages"]) == 6


def test_a_response_of_a_call_is_gone_on_from(client: OpenAI, model: ModelServer):
    model.script = weatherman(model)
    first = client.responses.create(input="Weather?", tools=[WEATHER])
    output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    second = client.responses.create(input=[output], previous_response_id=first.id)
    assert second.output_text == "It is sunny."
    assert second.conversation is not None
    assert [kind for kind, _ in said_in(client, second.conversation.id)] == [
        "user", "function_call", "function_call_output", "assistant",
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["in a conversation", "nowhere"])
def test_a_response_of_several_items_is_gone_on_from_its_end(
    client: OpenAI, id: str, model: ModelServer, place: str
):
    where: Any = {"conversation": id} if place == "in a conversation" else {}
    model.script = lambda reply: (
        reply.begin().say("Let me see.").call("weather", "{}").finish("tool_calls").done()
    )
    first = client.responses.create(input="Weather?", tools=[WEATHER], **where)
    model.script = answer("It is sunny.")
    output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    second = client.responses.create(input=[output], previous_response_id=first.id)
    assert [role for role, _ in told(model)] == ["user", "assistant", "tool"]
    assert second.conversation is not None
    assert [kind for kind, _ in said_in(client, second.conversation.id)] == [
        "user", "assistant", "function_call", "function_call_output", "assistant",
    ]  # fmt: skip


@pytest.mark.parametrize("previous", ["resp_" + "0" * 32, "resp_mine"])
def test_an_unknown_response_is_not_gone_on_from(client: OpenAI, model: ModelServer, previous: str):
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as raised:
        client.responses.create(input="Go on", previous_response_id=previous)
    assert raised.value.param == "previous_response_id"
    assert model.asked == []


def test_nobody_goes_on_from_a_strangers_response(connect: Connect, model: ModelServer):
    alice, bob = (connect(default_headers={"X-User-Id": name}) for name in ("alice", "bob"))
    theirs = alice.responses.create(input="Hi")
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        bob.responses.create(input="Go on", previous_response_id=theirs.id)
