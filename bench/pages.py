"""The console in Chromium: what its first view loads, how long tasks take, and the memory.

Chromium and the package playwright drive it: `apt-get install chromium`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from . import server
from .data import Batch, fill, ids, project
from .options import Options, Section, Step

CONVERSATIONS, MESSAGES = 10_000, 2_000
QUICK_CONVERSATIONS = 1_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SETTLED = 3_000  # milliseconds until a view has loaded all that it wants
FEW_SCROLLS = 20
SCROLLS, PIXELS, PAUSE = 400, 1_500, 30  # of messages, in one go, milliseconds
# The browser reports tasks of 50 ms and more.
OBSERVE = """
window.tasks = []
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.tasks.push(entry.duration)
})
observer.observe({ type: "longtask", buffered: true })
"""
SCROLL = "([box, by]) => document.querySelector(box).scrollBy(0, by)"


class View(NamedTuple):
    name: str
    loaded: int  # bytes of the page and its files, uncompressed
    longest: float  # milliseconds of the longest task, 0 if none took 50
    heap: int  # bytes
    nodes: int


def steps(options: Options) -> int:
    return 4


def measure(options: Options, step: Step) -> list[View]:
    count = QUICK_CONVERSATIONS if options.quick else CONVERSATIONS
    path = options.folder / "console.db"
    fill(path, Batch([project(1)], [None], count, 2, is_marked=True))
    long = options.folder / "long.db"
    fill(long, Batch([project(1)], [None], 1, MESSAGES))
    found = []
    with server.local(path) as running, _chromium() as browser:
        page, watched = _open(browser, f"{running.url}/console")
        found.append(watched.view(f"first view, {count:,} conversations"))
        step("first view")
        for _ in range(SCROLLS):
            page.evaluate(SCROLL, [".rows", PIXELS])
            page.wait_for_timeout(PAUSE)
        found.append(watched.view("side bar, scrolled to its end"))
        step("side bar")
    with server.local(long) as running, _chromium() as browser:
        (id,) = ids(long, project(1))
        page, watched = _open(browser, f"{running.url}/console#/c/{id}")
        found.append(watched.view(f"a conversation of {MESSAGES:,} messages"))
        step("conversation")
        for scrolled in range(SCROLLS):
            page.evaluate(SCROLL, ["main .scroll", -PIXELS])
            page.wait_for_timeout(PAUSE)
            if scrolled == FEW_SCROLLS:
                found.append(watched.view("scrolled up a little"))
        found.append(watched.view("scrolled up to its first message"))
        step("scrolled")
    return found


class _Watched:
    """A page, with what it loaded and what it took."""

    def __init__(self, page: Page, tools: CDPSession) -> None:
        self._page, self._tools = page, tools
        self._responses: list[Any] = []
        page.on("response", self._keep)

    def _keep(self, response: Any) -> None:
        self._responses.append(response)

    def view(self, name: str) -> View:
        self._page.wait_for_timeout(SETTLED)
        loaded = [each for each in self._responses if "/console" in each.url]
        self._tools.send("HeapProfiler.collectGarbage")
        told = self._tools.send("Performance.getMetrics")["metrics"]
        metrics = {metric["name"]: metric["value"] for metric in told}
        longest = max(self._page.evaluate("window.tasks"), default=0)
        size = sum(len(each.body()) for each in loaded)
        return View(name, size, longest, metrics["JSHeapUsedSize"], metrics["Nodes"])


def _open(browser: Browser, url: str) -> tuple[Page, _Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.add_init_script(OBSERVE)
    page = context.new_page()
    tools = context.new_cdp_session(page)
    tools.send("Performance.enable")
    watched = _Watched(page, tools)
    page.goto(url)
    return page, watched


@contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as started:
        path = Path("/usr/bin/chromium")
        browser = started.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def section(found: list[View]) -> Section:
    first, _, _, before, after = found
    return Section(
        "Console",
        "In Chromium, on the machine of the server. The bytes are those of the page and its files, "
        "uncompressed. The browser reports tasks from 50 ms on.",
        ["view", "bytes loaded", "longest task, ms", "heap, MB", "nodes"],
        [
            [
                each.name,
                f"{each.loaded:,}",
                f"{each.longest:.0f}" if each.longest else "< 50",
                f"{each.heap / 1e6:.1f}",
                f"{each.nodes:,}",
            ]
            for each in found
        ],
        {
            "console: first view": first.loaded,
            "console: longest task": max(each.longest for each in found),
            "console: nodes": after.nodes / before.nodes,
        },
    )
