"""The console in Debian's Chromium: opened, looked at, and watched for what must not happen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from .processes import ROOT

playwright = pytest.importorskip("playwright.sync_api")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SHOTS = ROOT / "build" / "shots"
AXE = ROOT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE = 10_000  # milliseconds
# The browser itself reports these for a request that fails, which some tests want.
OF_NETWORK = "Failed to load resource"


@contextmanager
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A page, with all errors that it reports and all requests to other servers."""

    def __init__(self, page: Any, origin: str) -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.may_fail = False
        self._origin = urlsplit(origin).netloc
        page.on("console", self._log)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _log(self, message: Any) -> None:
        is_of_network = self.may_fail and message.text.startswith(OF_NETWORK)
        if message.type in ("error", "warning") and not is_of_network:
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https") and url.netloc != self._origin:
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
        **options: Any,
    ) -> Any:
        """A page at `url`. With `may_fail`, requests may be refused."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB",
            **options,
        )  # fmt: skip
        context.set_default_timeout(PATIENCE)
        playwright.expect.set_options(timeout=PATIENCE)
        page = context.new_page()
        watched = Watched(page, url)
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
