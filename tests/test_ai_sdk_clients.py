"""Tests with the AI SDK's own clients, unmodified, in Node: the messages are right, and once."""

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .support.model_server import ModelServer, Stepwise
from .support.processes import PATIENCE, ROOT, ProductionServer, Server
from .support.ui_messages import text_in

pytestmark = pytest.mark.system

JS = ROOT / "tests" / "js"
STREAM_TIMEOUT = 2


class Client:
    """A chat in a process of Node. `state` is what its page would show."""

    def __init__(self, sdk: str, server: Server, id: str = "a chat") -> None:
        assert (JS / "node_modules").exists(), "run `make js`"
        self._process = subprocess.Popen(
            ["node", "client.mjs", sdk, f"{server.url}/api/chat", id],
            cwd=JS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.states: list[dict[str, Any]] = []
        self.wait_for(lambda state: "loaded" in state)
        self.loaded: dict[str, Any] = self.states[-1]["loaded"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def do(self, does: str, **fields: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"does": does, **fields}) + "\n")
        self._process.stdin.flush()

    def wait_for(self, happens: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first state from now on for which it does. The last one may be it already."""
        if self.states and happens(self.states[-1]):
            return self.states[-1]
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"it does not happen: {self.states[-1:]}") from None
            self.states.append(json.loads(line))
            if happens(self.states[-1]):
                return self.states[-1]

    def shows(self, *texts: str, status: str | None = None) -> dict[str, Any]:
        """Wait until it shows exactly these texts."""
        return self.wait_for(
            lambda state: (
                [text_in(message) for message in state["messages"]] == [*texts]
                and status in (None, state["status"])
            )
        )

    def has_done(self, does: str) -> dict[str, Any]:
        state = self.wait_for(lambda state: state.get("done") == does)
        self.states[-1] = {**state, "done": None}
        return state

    def ids(self) -> list[str]:
        return [message["id"] for message in self.states[-1]["messages"]]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(params=["ai5", "ai6", "ai7"])
def sdk(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as model:
        yield model


@pytest.fixture
def server(tmp_path: Path, model: ModelServer) -> Iterator[Server]:
    url = f"sqlite:///{tmp_path}/confab.db"
    with Server(url, chat_base_url=model.url, stream_timeout=STREAM_TIMEOUT) as server:
        yield server


@pytest.fixture
def open_chat(sdk: str, server: Server) -> Iterator[Callable[..., Client]]:
    opened: list[Client] = []

    def begin() -> Client:
        opened.append(Client(sdk, server))
        return opened[-1]

    yield begin
    for client in opened:
        client.close()


@pytest.fixture
def stored(server: Server) -> Callable[[], list[tuple[str, str]]]:
    """The messages that a page would load: their ids and texts."""

    def read() -> list[tuple[str, str]]:
        chat = httpx.get(f"{server.url}/api/chat/a%20chat").json()
        return [(message["id"], text_in(message)) for message in chat["messages"]]

    return read


Open = Callable[..., Client]
Stored = Callable[[], list[tuple[str, str]]]


def assert_same(client: Client, stored: Stored) -> None:
    """What the client shows is what is stored, by id and text."""
    shown = client.states[-1]["messages"]
    assert [(message["id"], text_in(message)) for message in shown] == stored()


def assert_same_after_a_reload(client: Client, open_chat: Open) -> None:
    """A page that loads the chat has the very messages of one that was there."""
    assert open_chat().loaded["messages"] == client.states[-1]["messages"]


def test_a_message_is_sent_and_its_answer_grows(
    open_chat: Open, stored: Stored, model: ModelServer
):
    client = open_chat()
    assert client.loaded["messages"] == []
    client.do("resume")  # nothing is there yet, and that is no error
    assert client.has_done("resume")["status"] == "ready"
    model.script = script = Stepwise("Hel", "lo ", "👋")
    client.do("send", text="Hi")
    for text in ("Hel", "Hello ", "Hello 👋"):
        script.step()
        client.shows("Hi", text, status="streaming")
    script.finish()
    client.shows("Hi", "Hello 👋", status="ready")
    assert_same(client, stored)
    assert_same_after_a_reload(client, open_chat)


def test_a_page_that_is_opened_in_mid_answer_shows_it_grow(
    open_chat: Open, stored: Stored, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    first = open_chat()
    first.do("send", text="Hi")
    script.step()
    first.shows("Hi", "Hel")
    second = open_chat()
    assert [text_in(message) for message in second.loaded["messages"]] == ["Hi"]
    second.do("resume")
    second.shows("Hi", "Hel", status="streaming")
    script.step()
    second.shows("Hi", "Hello", status="streaming")
    first.do("hangUp")
    script.finish()
    second.shows("Hi", "Hello", status="ready")
    assert_same(second, stored)
    assert_same_after_a_reload(second, open_chat)


def test_a_page_that_was_loading_when_the_answer_ended_shows_it_once(
    open_chat: Open, stored: Stored, model: ModelServer
):
    model.script = script = Stepwise("Hel", "lo")
    first = open_chat()
    first.do("send", text="Hi")
    script.step()
    first.shows("Hi", "Hel")
    second = open_chat()
    script.finish()
    first.shows("Hi", "Hello", status="ready")
    third = open_chat()  # it has all of the answer, and is told it once more
    assert len(third.loaded["messages"]) == 2
    for client in (second, third):
        client.do("resume")
        client.has_done("resume")
        client.shows("Hi", "Hello", status="ready")
        assert_same(client, stored)


def test_a_server_that_is_killed_in_mid_answer_leaves_what_was_stored(
    open_chat: Open, stored: Stored, model: ModelServer, server: Server
):
    hello = model.script
    model.script = script = Stepwise("Hel", "lo")
    client = open_chat()
    client.do("send", text="Hi")
    script.step()
    client.shows("Hi", "Hel")
    server.kill()
    client.wait_for(lambda state: state["status"] == "error")
    server.start().wait()
    model.script = hello
    reloaded = open_chat()
    reloaded.do("resume")
    reloaded.shows("Hi", "Hel", status="streaming")
    reloaded.wait_for(lambda state: state["status"] == "ready")  # STREAM_TIMEOUT later
    message = reloaded.states[-1]["messages"][-1]
    assert (text_in(message), message["metadata"]) == ("Hel", {"status": "incomplete"})
    assert_same(reloaded, stored)
    assert_same_after_a_reload(reloaded, open_chat)
    client.do("regenerate")  # on the page that saw the crash
    client.shows("Hi", "Hello, world", status="ready")
    assert_same(client, stored)
    script.finish()


def test_an_answer_is_stopped_from_another_device(
    open_chat: Open, stored: Stored, model: ModelServer
):
    hello = model.script
    model.script = script = Stepwise("Hel", "lo")
    first, second = open_chat(), open_chat()
    first.do("send", text="Hi")
    script.step()
    first.shows("Hi", "Hel")
    second.do("stop")
    state = first.shows("Hi", "Hel", status="ready")
    assert state.get("error") is None
    script.finish()
    assert_same(first, stored)
    assert_same_after_a_reload(first, open_chat)
    model.script = hello
    first.do("send", text="Go on")
    first.shows("Hi", "Hel", "Go on", "Hello, world", status="ready")
    assert_same(first, stored)


def test_pages_on_several_workers_follow_one_answer(model: ModelServer, tmp_path: Path):
    """Under gunicorn, the one who writes, who reads and who stops may be different processes."""
    url = f"sqlite:///{tmp_path}/workers.db"
    settings = {"chat_base_url": model.url, "require_api_key": "false", "workers": 3}
    model.script = script = Stepwise("Hel", "lo", "!")
    with ProductionServer(url, **settings) as server:
        clients = [Client("ai7", server)]
        clients[0].do("send", text="Hi")
        script.step()
        clients[0].shows("Hi", "Hel")
        for _ in range(5):
            clients.append(Client("ai7", server))
            clients[-1].do("resume")
        for client in clients:
            client.shows("Hi", "Hel", status="streaming")
        script.step()
        for client in clients:
            client.shows("Hi", "Hello", status="streaming")
        clients[-1].do("stop")
        for client in clients:
            client.shows("Hi", "Hello", status="ready")
            client.close()
        script.finish()
        server.terminate()
        server.exit_code()


def test_hanging_up_does_not_stop_the_answer(open_chat: Open, stored: Stored, model: ModelServer):
    model.script = script = Stepwise("Hel", "lo")
    client = open_chat()
    client.do("send", text="Hi")
    script.step()
    client.shows("Hi", "Hel")
    client.do("hangUp")
    client.wait_for(lambda state: state["status"] == "ready")
    script.finish()
    deadline = time.monotonic() + PATIENCE
    while [text for _, text in stored()] != ["Hi", "Hello"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_message_that_interrupts_an_answer_ends_it(
    open_chat: Open, stored: Stored, model: ModelServer
):
    hello = model.script
    model.script = script = Stepwise("Hel", "lo")
    client = open_chat()
    client.do("send", text="Hi")
    script.step()
    client.shows("Hi", "Hel")
    client.do("hangUp")
    client.wait_for(lambda state: state["status"] == "ready")
    model.script = hello
    client.do("send", text="No, wait")
    client.shows("Hi", "Hel", "No, wait", "Hello, world", status="ready")
    script.finish()
    assert_same(client, stored)


def test_answers_are_regenerated(open_chat: Open, stored: Stored):
    client = open_chat()
    for number in ("one", "two"):
        client.do("send", text=number)
        client.wait_for(lambda state: state.get("done") == "send")
        client.has_done("send")
    before = client.ids()
    client.do("regenerate")
    client.has_done("regenerate")
    client.shows("one", "Hello, world", "two", "Hello, world", status="ready")
    assert client.ids()[:3] == before[:3]
    assert client.ids()[3] != before[3]
    assert_same(client, stored)
    client.do("regenerate", messageId=before[1])
    client.has_done("regenerate")
    client.shows("one", "Hello, world", status="ready")
    assert_same(client, stored)
    assert_same_after_a_reload(client, open_chat)


def test_a_message_is_edited(open_chat: Open, stored: Stored):
    client = open_chat()
    for number in ("one", "two"):
        client.do("send", text=number)
        client.has_done("send")
    first = client.ids()[0]
    for text in ("eins", "un"):
        client.do("edit", text=text, messageId=first)
        client.has_done("edit")
        client.shows(text, "Hello, world", status="ready")
        assert_same(client, stored)
    assert client.ids()[0] == first
    assert_same_after_a_reload(client, open_chat)
    reloaded = open_chat()
    reloaded.do("edit", text="uno", messageId=first)
    reloaded.has_done("edit")
    reloaded.shows("uno", "Hello, world", status="ready")
    assert_same(reloaded, stored)


def test_a_model_that_fails_is_an_error_and_can_be_asked_again(
    open_chat: Open, stored: Stored, model: ModelServer
):
    hello = model.script
    model.script = lambda reply: reply.begin().say("Hel").cut()
    client = open_chat()
    client.do("send", text="Hi")
    client.shows("Hi", "Hel", status="error")
    state = client.wait_for(lambda state: state.get("error") is not None)
    assert state["error"].endswith(".")
    model.script = hello
    client.do("regenerate")
    client.shows("Hi", "Hello, world", status="ready")
    assert_same(client, stored)


def test_what_is_wrong_with_a_request_is_told(open_chat: Open, model: ModelServer):
    client = open_chat()
    client.do("send", text="x" * 6_000_001)
    state = client.wait_for(lambda state: state.get("error") is not None)
    assert json.loads(state["error"])["type"] == "/problems/payload-too-large"
    assert model.asked == []


def test_the_server_outlives_its_clients(open_chat: Open, stored: Stored, model: ModelServer):
    model.script = script = Stepwise("Hel", "lo")
    client = open_chat()
    client.do("send", text="Hi")
    script.step()
    client.shows("Hi", "Hel")
    client._process.send_signal(signal.SIGKILL)
    script.finish()
    reloaded = open_chat()
    reloaded.do("resume")
    reloaded.has_done("resume")
    assert stored()[1][1] == "Hello"
