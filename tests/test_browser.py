"""Tests that a real browser follows an answer through a restart of the server."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from .support.processes import PATIENCE, Server
from .support.world import PROJECT

pytestmark = pytest.mark.system

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

PAGE = """<!doctype html>
<meta charset="utf-8">
<p id="answer"></p>
<p id="status"></p>
<script>
const answer = document.getElementById("answer")
const status_ = document.getElementById("status")
const source = new EventSource("EVENTS")
source.addEventListener("message", (event) => {
  answer.textContent = JSON.parse(event.data).content
})
source.addEventListener("delta", (event) => {
  answer.textContent += JSON.parse(event.data).delta
})
source.addEventListener("done", (event) => {
  status_.textContent = JSON.parse(event.data).status
})
</script>
"""


def until(happens: Callable[[], Any]) -> Any:
    """Repeat `happens` until it returns something true, and return that."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happens()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)
    return found


@contextmanager
def browser(profile: Path, page: str) -> Iterator[Callable[[str], str]]:
    """Open `page` in headless Chromium. Yield a function that returns an element's text by its id.

    The function asks Chromium over the DevTools protocol.
    """
    from websocket import create_connection

    process = subprocess.Popen(
        ["chromium", *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", page],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def address() -> str | None:
        active = profile / "DevToolsActivePort"
        if not active.exists() or not (port := active.read_text().partition("\n")[0]):
            return None
        targets = httpx.get(f"http://127.0.0.1:{port}/json/list").json()
        pages = (target for target in targets if target["type"] == "page")
        return next((str(page["webSocketDebuggerUrl"]) for page in pages), None)

    try:
        tools = create_connection(until(address), suppress_origin=True, timeout=PATIENCE)

        def text_of(id: str) -> str:
            expression = f"document.getElementById({json.dumps(id)})?.textContent"
            command = {"id": 1, "method": "Runtime.evaluate", "params": {"expression": expression}}
            tools.send(json.dumps(command))
            return str(json.loads(tools.recv())["result"]["result"].get("value", ""))

        yield text_of
        tools.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(f"sqlite:///{tmp_path}/confab.db") as server:
        yield server


def test_an_event_source_shows_an_answer_growing_over_a_restart(server: Server, tmp_path: Path):
    conversations = f"{server.url}/api/v1/conversations"
    made = httpx.post(conversations, json={"project_id": PROJECT}).json()
    messages = f"{conversations}/{made['id']}/messages"
    draft = {"role": "assistant", "content": "Once", "status": "in_progress"}
    append = f"{messages}/{httpx.post(messages, json=draft).json()['id']}/append"
    page = tmp_path / "page.html"
    page.write_text(PAGE.replace("EVENTS", f"{conversations}/{made['id']}/events?wait=1"))

    with browser(tmp_path / "profile", page.as_uri()) as text_of:
        until(lambda: text_of("answer") == "Once")

        def write(delta: str, **status: str) -> None:
            text = text_of("answer")
            piece = {"offset": len(text), "delta": delta, **status}
            httpx.post(append, json=piece).raise_for_status()
            until(lambda: text_of("answer") == text + delta)

        write(" upon")
        write(" a time,")
        server.kill()
        time.sleep(1)  # the browser tries to reconnect and fails at least once
        server.start().wait()
        write(" there was")
        write(" a 🦊 in Köln.")
        assert text_of("status") == ""
        write("", status="completed")
        until(lambda: text_of("status") == "completed")
        assert text_of("answer") == "Once upon a time, there was a 🦊 in Köln."
