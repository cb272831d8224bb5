"""Tests OpenAI's own client against real processes: one that is killed, and several workers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from .support.local_server import eventually
from .support.model_server import ModelServer, Stepwise
from .support.openai_clients import answer, items_in, said_in
from .support.processes import ProductionServer, Server
from .support.threads import at_once

pytestmark = pytest.mark.system

KEY = {"Idempotency-Key": "k"}


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as model:
        model.script = answer("Hello")
        yield model


def client_of(server: Server, **options: Any) -> OpenAI:
    given = {"max_retries": 0, **options}
    return OpenAI(base_url=f"{server.url}/v1", api_key="sk-none", timeout=30, **given)


def test_a_server_that_is_killed_in_mid_answer_leaves_what_was_stored(
    model: ModelServer, tmp_path: Path
):
    model.script = script = Stepwise("Hel", "lo")
    url = f"sqlite:///{tmp_path}/confab.db"
    settings = {"chat_base_url": model.url, "stream_timeout": 1}
    with Server(url, **settings) as server, client_of(server) as client:
        id = client.conversations.create().id
        script.step()
        begun: Any = None
        request: Any = {"model": "m", "input": "Hi", "conversation": id, "extra_headers": KEY}
        with client.responses.create(**request, stream=True) as stream:
            events: Iterator[Any] = iter(stream)
            while (event := next(events)).type != "response.output_text.delta":
                begun = begun or event.response
            server.kill()
            with pytest.raises(openai.APIConnectionError):
                list(events)
        script.finish()
        model.script = answer("Hello")
        server.start().wait()
        assert eventually(lambda: items_in(client, id)[-1].status == "incomplete")
        assert said_in(client, id) == [("user", "Hi"), ("assistant", "Hel")]
        (*_, last) = client.responses.create(**request, stream=True)
        assert (last.type, last.response.id) == ("response.incomplete", begun.id)
        assert last.response.output_text == "Hel"
        assert len(model.asked) == 1
        assert client.responses.create(input="Go on", conversation=id).output_text == "Hello"


def test_a_key_means_one_answer_on_several_workers(model: ModelServer, tmp_path: Path):
    url = f"sqlite:///{tmp_path}/confab.db"
    settings = {"chat_base_url": model.url, "require_api_key": "false", "workers": 3}
    with ProductionServer(url, **settings) as server:
        clients = [client_of(server, max_retries=5) for _ in range(6)]
        id = clients[0].conversations.create().id

        def ask(client: OpenAI) -> Any:
            return client.responses.create(input="Hi", conversation=id, extra_headers=KEY)

        responses = at_once(*(lambda client=client: ask(client) for client in clients))
        assert len({json.dumps(each.to_dict()) for each in responses}) == 1
        assert len(model.asked) == 1
        assert said_in(clients[0], id) == [("user", "Hi"), ("assistant", "Hello")]
        for client in clients:
            client.close()
        server.terminate()
        server.exit_code()
