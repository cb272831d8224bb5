"""Tests that a real browser follows an answer through a restart of the server."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .support.browser import browser, until
from .support.processes import Server
from .support.world import PROJECT

pytestmark = pytest.mark.system

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

    with browser(tmp_path / "profile", page.as_uri()) as opened:
        text_of = opened.text_of
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
