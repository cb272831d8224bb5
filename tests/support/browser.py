"""A real browser: Chromium without a window, asked over the DevTools protocol."""

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

from .processes import PATIENCE

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def until(happens: Callable[[], Any]) -> Any:
    """Repeat `happens` until it returns something true, and return that."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happens()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)
    return found


class Page:
    """A page in a browser."""

    def __init__(self, tools: Any) -> None:
        self._tools = tools

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        params = {"expression": expression, "returnByValue": True}
        self._tools.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": params}))
        return json.loads(self._tools.recv())["result"]["result"].get("value")

    def text_of(self, id: str) -> str:
        """The text of an element."""
        found = self.evaluate(f"document.getElementById({json.dumps(id)})?.textContent")
        return "" if found is None else str(found)


@contextmanager
def browser(profile: Path, url: str) -> Iterator[Page]:
    """Open the page at `url`."""
    from websocket import create_connection

    process = subprocess.Popen(
        ["chromium", *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", url],
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
        yield Page(tools)
        tools.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
