"""Tests that nothing that was written can do anything in the console, and that all can read it."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from .support.console import Elsewhere, at, shoot, violations
from .support.processes import Server
from .support.world import PROJECT

pytestmark = pytest.mark.system

expect = pytest.importorskip("playwright.sync_api").expect
Open = Callable[..., Any]

HOSTILE = {
    "script": "<script>window.hacked = 1</script>",
    "handler": '<img src=x onerror="window.hacked = 1"><svg onload="window.hacked = 1">',
    "entity": "&lt;b&gt; &#x3c;i&#x3e; <b>bold?</b>",
    "javascript": "[press](javascript:window.hacked=1) <javascript:window.hacked=1>",
    "disguised": "[a](java\nscript:window.hacked=1) [b](JaVaScRiPt:window.hacked=1) "
    "[c](&#106;avascript:window.hacked=1) [d](\x01javascript:window.hacked=1)",
    "data": "[x](data:text/html,<script>window.hacked=1</script>) ![y](data:image/svg+xml,<svg/>)",
    "quotes": '[x](https://example.com/"onmouseover="window.hacked=1) `"><script>`',
    "title": '[x](https://example.com "t\\" onclick=\\"window.hacked=1")',
    "image": "![track](https://tracker.example/pixel.png)\n\n<img src=https://tracker.example/2.png>",
    "nested": "[" * 3000 + "*" * 3000 + ">" * 300 + "`" * 3000,
    "quote": "> " * 500 + "deep",
    "list": "\n".join("  " * depth + "- deep" for depth in range(100)),
    "huge word": "w" * 5000,
    "huge code": f"```\n{'x' * 5000}\n```",
    "wide table": "|" + "a|" * 60 + "\n|" + "-|" * 60 + "\n|" + "b|" * 60,
    "right to left": "\u202eevil\u202c שלום עולם, this is mixed: مرحبا `code` بالعالم.",
    "zero width": "a\u200bb\u200d\u2060c\ufeff",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🦊 e\u0301 ﷽ 𝕏",
    "combining": "Z" + "\u0310\u0315\u0321" * 300,
    "broken fence": "```js\nnever closed\n# no heading",
    "template": "{{constructor.constructor('window.hacked=1')()}} ${window.hacked=1}",
}


@pytest.fixture
def server(console_server: Server) -> Server:
    return console_server


def test_hostile_texts_stay_text(server: Server, elsewhere: Elsewhere, console: Open):
    id = elsewhere.begin("<img src=x onerror=window.hacked=1>", *HOSTILE.values())
    elsewhere.patch(f"conversations/{id}", tags=["<script>window.hacked=1</script>", "\u202egat"])
    page = console(at(server, id), permissions=["clipboard-read", "clipboard-write"])
    expect(page.get_by_role("article")).to_have_count(len(HOSTILE))
    assert page.locator("#page :is(script, img, iframe, object, embed, style, base)").count() == 0
    # The project's own drawings are all that is drawn.
    assert page.locator("article .content svg").count() == 0
    links = page.locator("article a").evaluate_all("(all) => all.map((a) => a.protocol)")
    assert set(links) <= {"http:", "https:", "mailto:"}
    handlers = "[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames())"
    assert [name for name in page.evaluate(handlers) if name.startswith("on")] == []
    page.get_by_role("searchbox").fill("hacked")
    expect(page.locator("mark").first).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.body.scrollWidth") <= 1280
    # The markup is shown as it was written.
    expect(page.get_by_text(HOSTILE["script"]).first).to_be_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_no_text_makes_the_page_wider_than_the_screen(
    server: Server, elsewhere: Elsewhere, console: Open, width: int
):
    id = elsewhere.begin("w" * 255, *HOSTILE.values(), tags=["t" * 64, "u" * 64])
    page = console(at(server, id), width=width)
    expect(page.get_by_role("article")).to_have_count(len(HOSTILE))
    for box in ("html", "main", "main .scroll", ".messages"):
        sizes = page.locator(box).evaluate("(e) => [e.scrollWidth, e.clientWidth]")
        assert sizes[0] <= sizes[1], box


@pytest.mark.parametrize("letter", ["*", "_", "[", "`", "~", ">", "|", "![", "<", "\\", "- "])
def test_a_text_of_nothing_but_marks_takes_no_time(
    server: Server, elsewhere: Elsewhere, console: Open, letter: str
):
    id = elsewhere.begin("Marks", letter * (20_000 // len(letter)))
    page = console(at(server, id))
    expect(page.get_by_role("article")).to_have_count(1)
    longest = page.evaluate(
        "async () => { const { render } = await import("
        "document.querySelector('script[type=module]').src.replace('console.js', 'markdown.js'));"
        "const text = document.querySelector('confab-message').message.content;"
        "const began = performance.now(); render(document.createElement('div'), text);"
        "return performance.now() - began }"
    )
    assert longest < 500  # milliseconds; it takes 5 to 80


def test_the_page_can_neither_run_inline_scripts_nor_make_markup_of_text(
    server: Server, console: Open
):
    page = console(f"{server.url}/console", may_fail=True)
    expect(page.get_by_role("heading")).to_be_visible()
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<p>x</p>'; return false } "
        "catch (error) { return error instanceof TypeError } }"
    )
    assert refused
    assert page.evaluate("document.querySelectorAll('[style]:not(ul), style').length") == 0


STATES = {
    "empty": lambda page: None,
    "conversation": lambda page: page.get_by_role("link", name=re.compile("^Everything")).click(),
    "search": lambda page: page.get_by_role("searchbox").fill("where"),
    "menu": lambda page: (
        page.get_by_role("link", name=re.compile("^Everything")).click(),
        page.get_by_role("button", name="Conversation menu").click(),
    ),
    "tags": lambda page: (
        page.get_by_role("link", name=re.compile("^Everything")).click(),
        page.get_by_role("button", name="Conversation menu").click(),
        page.get_by_role("menuitem", name="Tags…").click(),
    ),
    "new": lambda page: page.get_by_role("link", name="New conversation").first.click(),
    "trash": lambda page: page.get_by_role("button", name="Trash").click(),
    "shortcuts": lambda page: page.get_by_role("button", name="Shortcuts").click(),
    "missing": lambda page: page.goto(
        page.url.split("#")[0] + "#/c/01a20f71-b8ef-750d-8941-7a70f27b06c5"
    ),
}
EVERYTHING = (
    "What do you know?",
    "# Head\n\n### Deeper\n\nSome *soft* `code` and [a link](https://example.com).\n\n"
    "- [x] done\n- [ ] open\n\n> quote\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nprint(1)\n```",
    "اكتب لي شيئا بالعربية مع `code` فيه",
    "**مرحبا** بالعالم\n\n1. واحد\n2. اثنان",
)
LOOKS = {
    "light": {"scheme": "light"},
    "dark": {"scheme": "dark"},
    "narrow": {"width": 360, "height": 740},
    "narrow-dark": {"width": 360, "height": 740, "scheme": "dark"},
}


def furnish(elsewhere: Elsewhere) -> None:
    for number in range(12):
        elsewhere.begin(f"Conversation {number}", "Where is it?", tags=["work"] * (number % 3 == 0))
    removed = elsewhere.begin("Removed")
    elsewhere.delete(f"conversations/{removed}")
    id = elsewhere.begin("Everything there is", *EVERYTHING, tags=["example", "العربية"])
    question = elsewhere.get(f"conversations/{id}")["messages"][0]["id"]
    draft = {"role": "assistant", "content": "Another answer", "parent_id": question}
    elsewhere.post(f"conversations/{id}/messages", draft)
    parts = [
        {"type": "reasoning", "text": "Thinking"},
        {"type": "tool_call", "id": "1", "name": "find", "arguments": "{}"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    elsewhere.post(
        f"conversations/{id}/messages",
        [
            {"role": "user", "content": "And here?"},
            {"role": "assistant", "content": parts},
            {"role": "tool", "content": "Found", "metadata": {"tool_call_id": "1"}},
            *({"role": ("user", "assistant")[n % 2], "content": EVERYTHING[n]} for n in range(4)),
        ],
    )
    elsewhere.patch(f"conversations/{id}", is_pinned=True)


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_violation_in_any_state(
    server: Server, elsewhere: Elsewhere, console: Open, look: str
):
    """axe needs to make markup, which the page's own policy forbids."""
    page = console(f"{server.url}/console", **LOOKS[look], bypass_csp=True, may_fail=True)
    expect(page.get_by_role("heading", name="Nothing has been said yet")).to_be_visible()
    shoot(page, f"{look}-nothing")
    assert violations(page) == []
    furnish(elsewhere)
    for state, reach in STATES.items():
        page.goto("about:blank")
        page.goto(f"{server.url}/console")
        expect(page.get_by_role("link", name=re.compile("^Everything"))).to_be_visible()
        reach(page)
        page.wait_for_timeout(400)
        assert violations(page) == [], state
        shoot(page, f"{look}-{state}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signing_in_has_no_violation(closed_server: Server, console: Open, scheme: str):
    options = {"bypass_csp": True, "may_fail": True, "scheme": scheme}
    page = console(f"{closed_server.url}/console", width=360, **options)
    expect(page.get_by_role("heading", name="Confab")).to_be_visible()
    assert violations(page) == []
    shoot(page, f"{scheme}-sign-in")


def test_motion_is_reduced_for_those_who_ask_for_it(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Still", "Count")
    draft = {"role": "assistant", "content": "One", "status": "in_progress"}
    elsewhere.post(f"conversations/{id}/messages", draft)
    for motion, names in (("reduce", {"none"}), ("no-preference", {"breathe"})):
        page = console(at(server, id), reduced_motion=motion)
        expect(page.get_by_text("Writing")).to_be_visible()
        name = "getComputedStyle(document.querySelector('.status'), '::before').animationName"
        assert {page.evaluate(name)} == names


def test_text_runs_in_its_own_direction(server: Server, elsewhere: Elsewhere, console: Open):
    id = elsewhere.begin("שלום", *EVERYTHING[2:])
    page = console(at(server, id))
    expect(page.get_by_role("article")).to_have_count(2)
    direction = "(element) => getComputedStyle(element).direction"
    assert page.get_by_role("article").first.locator("p").evaluate(direction) == "rtl"
    assert page.get_by_role("article").last.locator("li").first.evaluate(direction) == "rtl"
    assert page.locator("nav .name").first.evaluate(direction) == "rtl"
    assert page.get_by_role("article").first.locator("code").evaluate(direction) == "ltr"


def test_what_was_deleted_elsewhere_is_gone_here(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Shared", "One", "Two")
    page = console(at(server, id), may_fail=True)
    expect(page.get_by_role("article")).to_have_count(2)
    last = elsewhere.get(f"conversations/{id}")["last_message_id"]
    elsewhere.delete(f"conversations/{id}/messages/{last}")
    expect(page.get_by_role("article")).to_have_count(1)
    elsewhere.delete(f"conversations/{id}")
    expect(page.get_by_role("alert")).to_contain_text("This conversation is not here")
    assert elsewhere.get("trash", project_id=PROJECT)["conversations"][0]["id"] == id
