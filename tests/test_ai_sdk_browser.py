"""Tests README's React page in a real browser."""

import functools
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from .support.browser import Page, browser, until
from .support.model_server import ModelServer, Stepwise
from .support.processes import ROOT, Server

pytestmark = pytest.mark.system

JS = ROOT / "tests" / "js"
API = "http://localhost:8000"
HTML = """<!doctype html>
<meta charset="utf-8">
<div id="root"></div>
<script type="module" src="page.js"></script>
"""


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as model:
        yield model


@pytest.fixture
def server(tmp_path: Path, model: ModelServer) -> Iterator[Server]:
    url = f"sqlite:///{tmp_path}/confab.db"
    with Server(url, chat_base_url=model.url, stream_timeout=2) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, server: Server) -> Iterator[str]:
    """Where the page is: on another origin than the server."""
    (source,) = re.findall(r"```jsx\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert API in source
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text(HTML)
    subprocess.run(
        [
            JS / "node_modules" / ".bin" / "esbuild", "--bundle", "--format=esm", "--jsx=automatic",
            "--loader=jsx", "--log-level=error", f"--outfile={folder / 'page.js'}",
        ],
        input=source.replace(API, server.url), text=True, check=True, cwd=JS,
    )  # fmt: skip

    class Files(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    files = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(folder)))
    thread = threading.Thread(target=files.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{files.server_port}/#a-chat"
    files.shutdown()
    thread.join()
    files.server_close()


class ChatPage:
    def __init__(self, page: Page) -> None:
        self._page = page

    def shows(self, *texts: str, button: str | None = None) -> None:
        """Wait until it shows these messages, and a button to send or to stop."""
        want = [*texts]
        until(lambda: self._texts() == want and button in (None, self._button()))

    def _texts(self) -> list[str]:
        found = "[...document.querySelectorAll('p[class]')].map((p) => p.textContent)"
        return self._page.evaluate(found) or []

    def _button(self) -> Any:
        return self._page.evaluate("document.querySelector('button')?.textContent")

    def send(self, text: str) -> None:
        set_value = "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set"
        input = "document.querySelector('input')"
        self._page.evaluate(f"{set_value}.call({input}, {json.dumps(text)})")
        self._page.evaluate(f"{input}.dispatchEvent(new Event('input', {{bubbles: true}}))")
        self._page.evaluate(f"{input}.form.requestSubmit()")

    def press(self, button: str) -> None:
        named = f"(b) => b.textContent === {json.dumps(button)}"
        self._page.evaluate(f"[...document.querySelectorAll('button')].find({named}).click()")

    def reload(self) -> None:
        self._page.evaluate("location.reload()")


@pytest.fixture
def open_page(site: str, tmp_path: Path) -> Iterator[Callable[[], ChatPage]]:
    contexts: list[Any] = []

    def begin() -> ChatPage:
        contexts.append(browser(tmp_path / f"profile {len(contexts)}", site))
        return ChatPage(contexts[-1].__enter__())

    yield begin
    for context in contexts:
        context.__exit__(None, None, None)


def test_the_page_in_readme_shows_live_answers_over_reloads_restarts_and_stops(
    open_page: Callable[[], ChatPage], model: ModelServer, server: Server
):
    hello = model.script
    page = open_page()
    page.shows(button="Send")

    model.script = script = Stepwise("Hel", "lo ", "👋")
    page.send("Hi")
    script.step()
    page.shows("Hi", "Hel", button="Stop")
    page.reload()
    page.shows("Hi", "Hel", button="Stop")
    script.step()
    page.shows("Hi", "Hello ", button="Stop")
    script.finish()
    page.shows("Hi", "Hello 👋", button="Send")
    page.reload()
    page.shows("Hi", "Hello 👋", button="Send")

    model.script = script = Stepwise("One", " two")
    page.send("Count")
    script.step()
    page.shows("Hi", "Hello 👋", "Count", "One", button="Stop")
    page.press("Stop")
    page.shows("Hi", "Hello 👋", "Count", "One", button="Send")
    script.finish()
    page.reload()
    page.shows("Hi", "Hello 👋", "Count", "One", button="Send")

    model.script = script = Stepwise("Once", " more")
    page.press("Again")
    script.step()
    page.shows("Hi", "Hello 👋", "Count", "Once", button="Stop")
    server.kill()
    server.start().wait()
    page.reload()
    page.shows("Hi", "Hello 👋", "Count", "Once")
    page.shows("Hi", "Hello 👋", "Count", "Once", button="Send")  # after STREAM_TIMEOUT
    script.finish()

    model.script = hello
    page.press("Again")
    page.shows("Hi", "Hello 👋", "Count", "Hello, world", button="Send")
    chat = httpx.get(f"{server.url}/api/chat/a-chat").json()
    assert len(chat["messages"]) == 4
    every = f"{server.url}/api/v1/conversations/{chat['conversation_id']}/messages?branch=all"
    assert len(httpx.get(every).json()["messages"]) == 6
