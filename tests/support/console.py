"""The console in Debian's Chromium: opened, looked at, and watched for what must not happen."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from .model_server import ModelServer
from .processes import ROOT, ProductionServer, Server
from .world import PROJECT

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SHOTS = ROOT / "build" / "shots"
AXE = ROOT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE = 10_000  # milliseconds
# The browser itself reports what is refused, which some tests want.
REFUSALS = ("Failed to load resource", "This document requires 'TrustedHTML'")


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A page, with all errors that it reports and all requests to other servers."""

    def __init__(self, page: Any, *servers: str) -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.may_fail = False
        self._known = [urlsplit(server).netloc for server in servers]
        self._origin = self._known[0]
        page.on("console", self._log)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _log(self, message: Any) -> None:
        is_expected = self.may_fail and message.text.startswith(REFUSALS)
        if message.type in ("error", "warning") and not is_expected:
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        url, by = urlsplit(request.url), urlsplit(request.frame.url).netloc
        is_providers = by in self._known and by != self._origin  # what its own page loads
        if url.scheme in ("http", "https") and not is_providers and url.netloc not in self._known:
            self.elsewhere.append(request.url)


class Console:
    """Opens pages in contexts of their own, and checks each one at the end."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._opened: list[tuple[Any, Watched]] = []

    def __call__(
        self,
        url: str,
        *,
        width: int = 1280,
        height: int = 860,
        scheme: str = "light",
        may_fail: bool = False,
        provider: str | None = None,
        **options: Any,
    ) -> Any:
        """A page at `url`. With `may_fail`, something may be refused. It may ask a `provider`."""
        from playwright.sync_api import expect

        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB",
            **options,
        )  # fmt: skip
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page = context.new_page()
        watched = Watched(page, url, *filter(None, [provider]))
        watched.may_fail = may_fail
        self._opened.append((context, watched))
        page.goto(url)
        return page

    def check(self) -> None:
        for context, watched in self._opened:
            context.close()
            assert watched.errors == []
            assert watched.elsewhere == []


def violations(page: Any) -> list[str]:
    """What axe finds wrong with the page as it is now."""
    assert AXE.exists(), "make js installs axe"
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def shoot(page: Any, name: str) -> None:
    """Keep a picture of the page, for people to look at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


class Elsewhere:
    """A client of the API, beside the page."""

    def __init__(self, server: Server) -> None:
        self._http = httpx.Client(base_url=f"{server.url}/api/v1", timeout=30)

    def begin(self, title: str | None = "Plans", *said: str, **fields: Any) -> str:
        """Make a conversation of what a user and an assistant say in turn, and return its id."""
        messages = [
            {"role": ("user", "assistant")[number % 2], "content": content}
            for number, content in enumerate(said)
        ]
        body = {"project_id": PROJECT, "title": title, "messages": messages, **fields}
        return self.post("conversations", body)["id"]

    def post(self, path: str, body: Any = None) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()

    def get(self, path: str, **query: Any) -> Any:
        return self._http.get(path, params=query).raise_for_status().json()

    def patch(self, path: str, **changes: Any) -> None:
        self._http.patch(path, json=changes).raise_for_status()

    def delete(self, path: str) -> None:
        self._http.delete(path).raise_for_status()

    def close(self) -> None:
        self._http.close()


def at(server: Server, *path: str) -> str:
    """The address of a conversation, and of a message in it."""
    return f"{server.url}/console#/" + "/".join(
        f"{name}/{id}" for name, id in zip("cm", path, strict=False)
    )


def rows(page: Any) -> Any:
    return (
        page.get_by_role("navigation", name="Conversations")
        .get_by_role("link")
        .filter(has=page.locator(".name"))
    )


def says(page: Any, *wanted: str) -> None:
    """Wait until these messages are shown, and no others."""
    from playwright.sync_api import expect

    shown = page.get_by_role("article").locator(".content")
    expect(shown).to_have_text(list(wanted), use_inner_text=True)


def message(page: Any) -> Any:
    return page.get_by_role("textbox", name="Message", exact=True)


def choose(page: Any, item: str) -> None:
    page.get_by_role("button", name="Conversation menu").click()
    page.get_by_role("menuitem", name=item).click()


def address(page: Any, id: str) -> None:
    from playwright.sync_api import expect

    expect(page).to_have_url(re.compile(f"#/c/{id}"))


@pytest.fixture
def console_server(tmp_path: Path, model: ModelServer) -> Iterator[Server]:
    """A server on an open stage that asks `model`."""
    with Server(
        f"sqlite:///{tmp_path}/console.db", chat_base_url=model.url, stream_timeout=2
    ) as server:
        yield server


@pytest.fixture
def closed_server(url: str, key: str) -> Iterator[Server]:
    """A server that asks who is calling. `key` is a key for it."""
    with ProductionServer(url, workers=1) as server:
        yield server


@pytest.fixture
def elsewhere(console_server: Server) -> Iterator[Elsewhere]:
    """Somebody else who uses the API of the same server."""
    elsewhere = Elsewhere(console_server)
    yield elsewhere
    elsewhere.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def console(browser: Any) -> Iterator[Callable[..., Any]]:
    """`console(url)` opens a page. At the end, none may have an error or have asked elsewhere."""
    opened = Console(browser)
    yield opened
    opened.check()
