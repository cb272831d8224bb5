"""Tests OpenAI's Agents SDK, unmodified: its sessions, and its runs within a conversation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import agents
import openai
import pytest
from agents import Agent, ModelSettings, OpenAIConversationsSession, OpenAIResponsesModel, Runner
from openai import AsyncOpenAI, OpenAI

from .support.model_server import ModelServer
from .support.openai_clients import Connect, answer, listed, said_in, weatherman

WALK = [
    ("user", "Weather?"),
    ("function_call", 'weather({"city":"Paris"})'),
    ("function_call_output", "sunny in Paris"),
    ("assistant", "It is sunny in Paris."),
]


@agents.function_tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK tells nobody what it does."""
    agents.set_tracing_disabled(True)


@pytest.fixture
def model(model: ModelServer) -> ModelServer:
    model.script = weatherman(model)
    return model


# `run(lambda client: …)` runs it in an event loop of its own.
Run = Callable[[Callable[[AsyncOpenAI], Awaitable[Any]]], Any]


@pytest.fixture
def run(port: int, connect: Connect) -> Run:
    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncOpenAI]:
        url = f"http://127.0.0.1:{port}/v1"
        async with AsyncOpenAI(api_key="sk-no-key-of-ours", base_url=url, max_retries=0) as client:
            yield client

    def run(job: Callable[[AsyncOpenAI], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with opened() as client:
                return await job(client)

        return asyncio.run(main())

    return run


def agent(client: AsyncOpenAI, **settings: Any) -> Agent:
    return Agent(
        name="Weatherman",
        instructions="Be brief.",
        model=OpenAIResponsesModel("m", client),
        model_settings=ModelSettings(**settings),
        tools=[weather],
    )


async def ask(streamed: bool, who: Agent, question: Any = "Weather?", **where: Any) -> Any:
    """The result of a run, at once or streamed."""
    if not streamed:
        return await Runner.run(who, question, **where)
    result = Runner.run_streamed(who, question, **where)
    texts = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(texts) == result.final_output
    return result


STREAMED = pytest.mark.parametrize("streamed", [False, True])


@STREAMED
def test_a_run_in_a_conversation_calls_a_function_and_answers(
    client: OpenAI, run: Run, model: ModelServer, streamed: bool
):
    id = client.conversations.create().id
    result = run(lambda there: ask(streamed, agent(there), conversation_id=id))
    assert result.final_output == "It is sunny in Paris."
    assert said_in(client, id) == WALK
    assert [each["role"] for each in model.asked[1].body["messages"]] == [
        "system", "user", "assistant", "tool",
    ]  # fmt: skip
    assert listed(client) == [id]
    usage = result.context_wrapper.usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens) == (2, 22, 10)


@STREAMED
def test_a_second_run_goes_on_in_the_conversation(
    client: OpenAI, run: Run, model: ModelServer, streamed: bool
):
    id = client.conversations.create().id

    async def twice(there: AsyncOpenAI) -> Any:
        await ask(streamed, agent(there), conversation_id=id)
        model.script = answer("You are welcome.")
        return await ask(streamed, agent(there), "Thanks", conversation_id=id)

    assert run(twice).final_output == "You are welcome."
    assert said_in(client, id) == [*WALK, ("user", "Thanks"), ("assistant", "You are welcome.")]
    told = model.asked[-1].body["messages"]
    assert [each["role"] for each in told] == [
        "system", "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip


@STREAMED
def test_a_run_goes_on_from_the_response_before(
    client: OpenAI, run: Run, model: ModelServer, streamed: bool
):
    async def twice(there: AsyncOpenAI) -> Any:
        first = await ask(streamed, agent(there), auto_previous_response_id=True)
        model.script = answer("You are welcome.")
        return await ask(
            streamed, agent(there), "Thanks", previous_response_id=first.last_response_id
        )

    assert run(twice).final_output == "You are welcome."
    (id,) = listed(client)
    assert said_in(client, id) == [*WALK, ("user", "Thanks"), ("assistant", "You are welcome.")]


@STREAMED
def test_a_run_that_is_not_to_be_stored_is_not(
    client: OpenAI, run: Run, model: ModelServer, streamed: bool
):
    result = run(lambda there: ask(streamed, agent(there, store=False)))
    assert result.final_output == "It is sunny in Paris."
    assert listed(client) == []


@STREAMED
def test_a_run_with_a_session_keeps_its_items_there(
    client: OpenAI, run: Run, model: ModelServer, streamed: bool
):
    async def twice(there: AsyncOpenAI) -> Any:
        session = OpenAIConversationsSession(openai_client=there)
        result = await ask(streamed, agent(there), session=session)
        assert result.final_output == "It is sunny in Paris."
        model.script = answer("You are welcome.")
        await ask(streamed, agent(there), "Thanks", session=session)
        return session.session_id

    id = run(twice)
    assert said_in(client, id) == [*WALK, ("user", "Thanks"), ("assistant", "You are welcome.")]
    assert listed(client) == [id]


def test_a_session_adds_gets_pops_and_clears(client: OpenAI, run: Run):
    items: list[Any] = [{"role": "user", "content": str(number)} for number in range(45)]

    async def walk(there: AsyncOpenAI) -> None:
        session = OpenAIConversationsSession(openai_client=there)
        await session.add_items(items)
        found: list[Any] = await session.get_items()
        assert [item["content"][0]["text"] for item in found] == [str(n) for n in range(45)]
        assert await session.get_items(limit=3) == found[-3:]
        assert await session.pop_item() == found[-1]
        assert await session.get_items() == found[:-1]
        before = session.session_id
        await session.clear_session()
        assert await session.get_items() == []
        assert await session.pop_item() is None
        assert session.session_id != before

    run(walk)
    assert len(listed(client)) == 1


def test_a_session_goes_on_in_a_conversation_that_exists(client: OpenAI, run: Run):
    made = client.conversations.create(items=[{"role": "user", "content": "Hi"}])

    async def walk(there: AsyncOpenAI) -> None:
        session = OpenAIConversationsSession(conversation_id=made.id, openai_client=there)
        await session.add_items([{"role": "assistant", "content": "Hello"}])

    run(walk)
    assert said_in(client, made.id) == [("user", "Hi"), ("assistant", "Hello")]


@STREAMED
def test_a_model_that_fails_ends_a_run(
    run: Run, client: OpenAI, model: ModelServer, streamed: bool
):
    id = client.conversations.create().id
    model.script = lambda reply: reply.begin().say("Hel").cut()
    with pytest.raises((openai.InternalServerError, agents.ModelBehaviorError)):
        run(lambda there: ask(streamed, agent(there), conversation_id=id))
    assert said_in(client, id) == [("user", "Weather?"), ("assistant", "Hel")]
