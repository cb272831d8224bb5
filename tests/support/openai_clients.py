"""OpenAI's client for Python, unmodified, at the local server, and what a model says to it."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import DefaultHttpxClient, OpenAI
from openai.pagination import SyncConversationCursorPage
from openai.types.conversations import Conversation

import server.threads

from .clients import Api, open_api
from .model_server import ModelServer, Reply, Script

NO_PROJECT = "00000000-0000-0000-0000-000000000000"

# Of the function `weather`, as the two requests have it.
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}

CALL: Any = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
OUTPUT: Any = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
# Of a type that nobody has thought of.
UNKNOWN: Any = {
    "zeta": {"b": [1, 1.0, -0.5, 1e100, 12345678901234567890, True, None], "a": {}},
    "type": "hologram_call",
    "alpha": 'Größe 👋 \u2028 \\ " <b>',
    "id": "holo_theirs",
    "status": "glowing",
    "content": [],
    "role": "hologram",
    "": "",
}

# `connect(project="…")` opens a client with these options. It repeats nothing if not told to.
Connect = Callable[..., OpenAI]


@pytest.fixture
def connect(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(server.threads, "IDLE_SECONDS", 0.02)  # each test waits for its threads
    opened: list[OpenAI] = []

    def open_client(**options: Any) -> OpenAI:
        http = DefaultHttpxClient(verify=False)  # to load the certificates takes 20 ms
        given = {"api_key": "sk-no-key-of-ours", "max_retries": 0, "http_client": http, **options}
        opened.append(OpenAI(base_url=f"http://127.0.0.1:{port}/v1", timeout=30, **given))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def client(connect: Connect) -> OpenAI:
    return connect()


@pytest.fixture
def other_api(port: int) -> Iterator[Api]:
    """A client of the other dialects at the same server."""
    with open_api(port) as api:
        yield api


def hex_of(id: str) -> str:
    """The store's id within one of OpenAI's, without its dashes."""
    return id.rpartition("_")[2].replace("-", "")


def message(text: str, role: str = "user") -> Any:
    return {"type": "message", "role": role, "content": text}


def text_of(item: Any) -> str:
    """What an item says: its text, or the call or the output that it is."""
    if item.type == "message":
        return "".join(part.text for part in item.content)
    if item.type == "function_call":
        return f"{item.name}({item.arguments})"
    return str(item.output)


def items_in(client: OpenAI, conversation_id: str) -> list[Any]:
    """All items of a conversation, oldest first."""
    return list(client.conversations.items.list(conversation_id, order="asc", limit=100))


def said_in(client: OpenAI, conversation_id: str) -> list[tuple[str, str]]:
    """The types and the texts of a conversation's items. A message's type is its role."""
    return [
        (getattr(item, "role", None) or item.type, text_of(item))
        for item in items_in(client, conversation_id)
    ]


def listed(client: OpenAI, **params: Any) -> list[str]:
    """The ids of all conversations, as the client's own iterator walks over the pages."""
    page = client.get_api_list(
        "/conversations",
        model=Conversation,
        page=SyncConversationCursorPage[Conversation],
        options={"params": params},
    )
    return [conversation.id for conversation in page]


def answer(*texts: str) -> Script:
    """A model that says this."""

    def script(reply: Reply) -> None:
        reply.begin().delta(role="assistant", content="")
        reply.say(*texts).finish("stop").usage(**USAGE).done()

    return script


USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 5,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def weatherman(model: ModelServer) -> Script:
    """A model that asks for the weather of Paris, and then tells it."""

    def script(reply: Reply) -> None:
        last = model.asked[-1].body["messages"][-1]
        if last["role"] == "tool":
            reply.begin().say("It is ", last["content"], ".").finish("stop")
        else:
            reply.begin().call("weather", '{"city":', '"Paris"}').finish("tool_calls")
        reply.usage(**USAGE).done()

    return script


def as_sent(item: Any) -> str:
    """The bytes of an item but for its id."""
    return json.dumps({name: value for name, value in item.items() if name != "id"})
