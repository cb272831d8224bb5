"""Tests of the console in a browser: each thing by role and name, as a person finds it."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .support.console import Elsewhere, address, at, choose, message, rows, says, shoot
from .support.model_server import ModelServer, Stepwise
from .support.processes import Server
from .support.world import OTHER_PROJECT, PROJECT

pytestmark = pytest.mark.system

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
Open = Callable[..., Any]


@pytest.fixture
def server(console_server: Server) -> Server:
    return console_server


# Signing in


def test_a_key_opens_its_project_and_a_user_sees_only_theirs(
    closed_server: Server, key: str, console: Open
):
    for user in (None, "zoë"):
        body = {"project_id": PROJECT, "title": f"Of {user}"}
        headers = {"X-API-Key": key.encode(), **({"X-User-Id": user.encode()} if user else {})}
        conversations = f"{closed_server.url}/api/v1/conversations"
        httpx.post(conversations, json=body, headers=headers).raise_for_status()
    page = console(f"{closed_server.url}/console", may_fail=True)
    page.get_by_label("Key or token").fill("confab_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("is not known, was revoked, or has expired")
    page.get_by_label("Key or token").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(rows(page)).to_have_count(2)
    page.reload()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key or token").fill(key)
    page.get_by_role("textbox", name=re.compile("^User")).fill("zoë")
    page.get_by_role("button", name="Sign in").click()
    expect(rows(page).locator(".name")).to_have_text(["Of zoë"])
    assert key not in page.url
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0


def test_a_token_opens_what_is_its_users(closed_server: Server, key: str, console: Open):
    headers = {"X-API-Key": key}
    for user in ("alice", "bob"):
        body = {"project_id": PROJECT, "title": f"Of {user}"}
        conversations = f"{closed_server.url}/api/v1/conversations"
        httpx.post(
            conversations, json=body, headers={**headers, "X-User-Id": user}
        ).raise_for_status()
    asked = {"user_id": "alice", "project_id": PROJECT}
    made = httpx.post(f"{closed_server.url}/api/v1/tokens", json=asked, headers=headers)
    page = console(f"{closed_server.url}/console", may_fail=True)
    page.get_by_label("a user's token").check()
    page.get_by_label("Key or token").fill(made.json()["token"])
    page.get_by_role("button", name="Sign in").click()
    expect(rows(page).locator(".name")).to_have_text(["Of alice"])


def test_an_open_stage_opens_the_project_that_was_active_last(
    server: Server, elsewhere: Elsewhere, console: Open
):
    for project in (OTHER_PROJECT, PROJECT):
        elsewhere.begin(f"In {project}", project_id=project)
    page = console(f"{server.url}/console")
    expect(rows(page).locator(".name")).to_have_text([f"In {PROJECT}"])
    page.get_by_role("combobox", name="Project").select_option(OTHER_PROJECT)
    expect(rows(page).locator(".name")).to_have_text([f"In {OTHER_PROJECT}"])
    page.reload()
    expect(rows(page).locator(".name")).to_have_text([f"In {OTHER_PROJECT}"])


def test_an_empty_database_has_an_example_one_click_away(server: Server, console: Open):
    page = console(f"{server.url}/console")
    expect(page.get_by_role("heading", name="Nothing has been said yet")).to_be_visible()
    page.get_by_role("button", name="Make an example conversation").click()
    expect(page.get_by_role("article")).to_have_count(8)
    expect(page.get_by_role("table")).to_have_count(1)
    expect(page.get_by_text("2/2")).to_be_visible()
    expect(rows(page)).to_have_count(1)


def test_the_first_conversation_of_an_empty_database_appears_by_itself(
    server: Server, elsewhere: Elsewhere, console: Open
):
    page = console(f"{server.url}/console")
    expect(page.get_by_role("heading", name="Nothing has been said yet")).to_be_visible()
    elsewhere.begin("Sent to the API")
    expect(rows(page).locator(".name")).to_have_text(["Sent to the API"])
    expect(page.get_by_role("combobox", name="Project")).to_have_value(PROJECT)


# The side bar


def test_the_side_bar_is_by_activity_with_what_is_pinned_first(
    server: Server, elsewhere: Elsewhere, console: Open
):
    first = elsewhere.begin("First")
    elsewhere.begin("Second")
    pinned = elsewhere.begin("Pinned")
    archived = elsewhere.begin("Archived")
    elsewhere.patch(f"conversations/{pinned}", is_pinned=True)
    elsewhere.patch(f"conversations/{archived}", is_archived=True)
    elsewhere.post(f"conversations/{first}/messages", {"role": "user", "content": "Up"})
    page = console(f"{server.url}/console")
    expect(rows(page).locator(".name")).to_have_text(["Pinned", "First", "Second"])
    page.get_by_role("button", name="Archived").click()
    expect(rows(page).locator(".name")).to_have_text(["Archived"])
    page.get_by_role("button", name="Pinned").click()
    expect(rows(page).locator(".name")).to_have_text(["Pinned"])


def test_the_side_bar_moves_when_something_changes_anywhere(
    server: Server, elsewhere: Elsewhere, console: Open
):
    one, two = elsewhere.begin("One"), elsewhere.begin("Two")
    page = console(f"{server.url}/console")
    expect(rows(page).locator(".name")).to_have_text(["Two", "One"])
    page.wait_for_timeout(500)
    elsewhere.post(f"conversations/{one}/messages", {"role": "user", "content": "Up"})
    expect(rows(page).locator(".name")).to_have_text(["One", "Two"])
    elsewhere.begin("Three")
    expect(rows(page).locator(".name")).to_have_text(["Three", "One", "Two"])
    elsewhere.patch(f"conversations/{two}", title="Renamed", is_pinned=True)
    expect(rows(page).locator(".name")).to_have_text(["Renamed", "Three", "One"])
    elsewhere.delete(f"conversations/{one}")
    expect(rows(page).locator(".name")).to_have_text(["Renamed", "Three"])


def test_the_side_bar_loads_50_at_a_time_while_it_is_scrolled(
    server: Server, elsewhere: Elsewhere, console: Open
):
    for number in range(120):
        elsewhere.begin(f"Number {number}")
    asked: list[str] = []
    page = console(f"{server.url}/console")
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(rows(page).first).to_have_text(re.compile("Number 119"))
    assert [url for url in asked if "cursor=" in url] == []
    for number in (60, 30, 0):
        row = page.get_by_role("link", name=re.compile(rf"^Number {number}\b"))
        while not row.count():
            page.locator(".rows").evaluate("(box) => box.scrollBy(0, 400)")
            page.wait_for_timeout(50)
    assert len([url for url in asked if "cursor=" in url]) == 2
    assert all("limit=50" in url for url in asked if "conversations?" in url)
    assert rows(page).count() < 50


def test_tags_filter_the_side_bar(server: Server, elsewhere: Elsewhere, console: Open):
    elsewhere.begin("Both", tags=["work", "urgent"])
    work = elsewhere.begin("Work", "Hello", tags=["work"])
    elsewhere.begin("None")
    page = console(at(server, work))
    page.get_by_role("button", name="work", exact=True).click()
    expect(rows(page).locator(".name")).to_have_text(["Work", "Both"])
    page.get_by_label("Filter by tag").fill("urgent")
    page.get_by_label("Filter by tag").press("Enter")
    expect(rows(page).locator(".name")).to_have_text(["Both"])
    page.get_by_role("button", name="Remove the tag work").click()
    page.get_by_role("button", name="Remove the tag urgent").click()
    expect(rows(page)).to_have_count(3)


def test_a_search_as_one_types_marks_its_hits_and_opens_at_the_message(
    server: Server, elsewhere: Elsewhere, console: Open
):
    said = [f"Line {number} of 🙂 this" for number in range(150)]
    said[3] = "Where is 🙂 Zürich, then?"
    id = elsewhere.begin("Long", *said[:100])
    for number in range(100, 150):
        elsewhere.post(f"conversations/{id}/messages", {"role": "user", "content": said[number]})
    page = console(f"{server.url}/console")
    search = page.get_by_role("searchbox", name="Search conversations")
    search.press_sequentially("zurich", delay=20)
    expect(page.locator("mark")).to_have_text(["Zürich"])
    page.get_by_role("link", name=re.compile("Where is")).click()
    expect(page).to_have_url(re.compile(f"#/c/{id}/m/"))
    found = page.get_by_role("article").filter(has_text="Zürich")
    expect(found).to_be_in_viewport()
    expect(found).to_be_focused()
    search.fill("nothing has this")
    expect(page.get_by_text("Nothing has all of these words.")).to_be_visible()
    search.press("Escape")
    expect(rows(page)).to_have_count(1)


def test_a_hit_on_another_branch_is_shown_without_switching(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Tree", "Question", "The old answer")
    question, old = elsewhere.get(f"conversations/{id}")["messages"]
    new = {"role": "assistant", "content": "The new answer", "parent_id": question["id"]}
    leaf = elsewhere.post(f"conversations/{id}/messages", new)["id"]
    page = console(at(server, id, old["id"]))
    says(page, "Question", "The old answer")
    assert elsewhere.get(f"conversations/{id}")["last_message_id"] == leaf


# A conversation


def test_the_newest_messages_are_in_sight_and_older_ones_load_upwards(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Long", *(f"Line {number}" for number in range(100)))
    for start in range(100, 300, 100):
        batch = [{"role": "user", "content": f"Line {n}"} for n in range(start, start + 100)]
        elsewhere.post(f"conversations/{id}/messages", batch)
    page = console(at(server, id))
    expect(page.get_by_text("Line 299", exact=True)).to_be_in_viewport()
    assert page.get_by_text("Line 100", exact=True).count() == 0
    scroll = page.locator("main .scroll")
    first = page.get_by_text("Line 0", exact=True)
    for _ in range(100):
        if first.count():
            break
        scroll.evaluate("(box) => box.scrollBy(0, -1000)")
        page.wait_for_timeout(60)
    scroll.evaluate("(box) => box.scrollTo(0, 0)")
    expect(first).to_be_in_viewport()
    assert page.get_by_role("article").count() <= 100
    page.get_by_role("button", name="Newest messages").click()
    expect(page.get_by_text("Line 299", exact=True)).to_be_in_viewport()


def test_a_title_is_edited_in_place(server: Server, elsewhere: Elsewhere, console: Open):
    id = elsewhere.begin("Plans")
    page = console(at(server, id))
    title = page.get_by_role("textbox", name="Title")
    expect(title).to_have_value("Plans")
    title.fill("Better plans")
    title.press("Enter")
    expect(rows(page).locator(".name")).to_have_text(["Better plans"])
    assert elsewhere.get(f"conversations/{id}")["title"] == "Better plans"
    title.fill("Not this")
    title.press("Escape")
    expect(title).to_have_value("Better plans")
    elsewhere.patch(f"conversations/{id}", title="By another")
    expect(title).to_have_value("By another")


def test_markdown_is_rendered_and_code_can_be_copied(
    server: Server, elsewhere: Elsewhere, console: Open
):
    text = (
        "# Head\n\nSome *soft* and **loud** `code`, [a link](https://example.com/a_b).\n\n"
        "1. one\n2. two\n   - deep\n\n> said\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n"
        "```py\nprint('<b>')\n```\n\n![a cat](https://example.com/cat.png)"
    )
    id = elsewhere.begin("Marks", "Show me", text)
    page = console(at(server, id), permissions=["clipboard-read", "clipboard-write"])
    answer = page.get_by_role("article").nth(1)
    expect(answer.get_by_role("heading", name="Head")).to_be_visible()
    expect(answer.locator("em")).to_have_text("soft")
    expect(answer.locator("strong")).to_have_text("loud")
    expect(answer.get_by_role("listitem")).to_have_count(3)
    expect(answer.locator("blockquote")).to_have_text("said")
    expect(answer.get_by_role("cell")).to_have_text(["1", "2"])
    link = answer.get_by_role("link", name="a link")
    expect(link).to_have_attribute("href", "https://example.com/a_b")
    expect(link).to_have_attribute("rel", re.compile("noopener noreferrer"))
    expect(answer.get_by_role("link", name="Image: a cat")).to_be_visible()
    assert page.locator("img").count() == 0
    answer.get_by_role("button", name="Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()") == "print('<b>')"


def test_parts_calls_and_reasoning_are_folded(server: Server, elsewhere: Elsewhere, console: Open):
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "reasoning", "text": "I thought about it"},
        {"type": "tool_call", "id": "1", "name": "weather", "arguments": '{"city": "Rome"}'},
        {"type": "something-new", "value": 1},
    ]
    id = elsewhere.begin("Parts", "Hi")
    elsewhere.post(f"conversations/{id}/messages", {"role": "assistant", "content": parts})
    result = {"role": "tool", "content": "Sunny", "metadata": {"tool_call_id": "1"}}
    elsewhere.post(f"conversations/{id}/messages", result)
    page = console(at(server, id))
    for name, inside in (
        ("Reasoning", "I thought about it"),
        ("Tool call: weather", '"city": "Rome"'),
        ("Part: something-new", '"value": 1'),
        ("Tool result", "Sunny"),
    ):
        expect(page.get_by_text(inside)).to_have_count(0)
        page.get_by_text(name, exact=True).click()
        expect(page.get_by_text(inside)).to_be_visible()


def test_an_answer_that_another_client_writes_grows_live(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Live", "Count")
    page = console(at(server, id))
    says(page, "Count")
    draft = {"role": "assistant", "content": "One 🦊", "status": "in_progress"}
    path = (
        f"conversations/{id}/messages/"
        + elsewhere.post(f"conversations/{id}/messages", draft)["id"]
    )
    says(page, "Count", "One 🦊")
    elsewhere.post(f"{path}/append", {"offset": 5, "delta": ", two"})
    says(page, "Count", "One 🦊, two")
    expect(page.get_by_role("article").last).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    elsewhere.post(f"{path}/append", {"offset": 10, "delta": ".", "status": "completed"})
    says(page, "Count", "One 🦊, two.")
    expect(page.get_by_role("article").last).to_have_attribute("aria-busy", "false")
    expect(page.locator("#said")).to_have_text("Assistant: One 🦊, two.")


def test_versions_of_a_message_are_turned_and_the_choice_stays(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    id = elsewhere.begin("Tree", "Question", "First answer")
    page = console(at(server, id))
    answer = page.get_by_role("article").last
    answer.hover()
    answer.get_by_role("button", name="Regenerate answer").click()
    says(page, "Question", "Hello, world")
    expect(answer.get_by_text("2/2")).to_be_visible()
    answer.get_by_role("button", name="Previous version").click()
    says(page, "Question", "First answer")
    expect(answer.get_by_text("1/2")).to_be_visible()
    page.reload()
    says(page, "Question", "First answer")
    answer.get_by_role("button", name="Next version").click()
    says(page, "Question", "Hello, world")


def test_a_question_is_edited_and_sent_again(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    id = elsewhere.begin("Edit", "Helo", "What?")
    page = console(at(server, id))
    question = page.get_by_role("article").first
    question.hover()
    question.get_by_role("button", name="Edit message").click()
    field = page.get_by_role("textbox", name="Edited message")
    expect(field).to_be_focused()
    expect(field).to_have_value("Helo")
    field.fill("Hello")
    field.press("Enter")
    says(page, "Hello", "Hello, world")
    expect(question.get_by_text("2/2")).to_be_visible()
    assert len(elsewhere.get(f"conversations/{id}", branch="all")["messages"]) == 4


def test_a_message_is_copied_deleted_and_forked(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Three", "One *1*", "Two", "Three")
    page = console(at(server, id), permissions=["clipboard-read", "clipboard-write"])
    one, two = page.get_by_role("article").nth(0), page.get_by_role("article").nth(1)
    one.hover()
    one.get_by_role("button", name="Copy message").click()
    assert page.evaluate("navigator.clipboard.readText()") == "One *1*"
    two.hover()
    two.get_by_role("button", name="Delete message").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete message").click()
    says(page, "One 1", "Three")
    one.hover()
    one.get_by_role("button", name="Fork from here").click()
    says(page, "One 1")
    assert id not in page.url
    expect(rows(page)).to_have_count(2)


# The composer


def test_enter_sends_shift_enter_breaks_the_line_and_the_answer_can_be_stopped(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    id = elsewhere.begin("Talk")
    model.script = script = Stepwise("Hel", "lo")
    page = console(at(server, id), may_fail=True)  # the question may be answered 409
    message(page).press_sequentially("Hi")
    message(page).press("Shift+Enter")
    message(page).press_sequentially("there")
    message(page).press("Enter")
    script.step()
    says(page, "Hi\nthere", "Hel")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("article").last).to_contain_text("Ended early")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    expect(message(page)).to_be_focused()
    expect(page.get_by_role("alert")).to_have_count(0)
    script.finish()
    assert elsewhere.get(f"conversations/{id}")["messages"][0]["content"] == "Hi\nthere"


def test_the_first_message_begins_a_conversation(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    elsewhere.begin("Old")
    page = console(f"{server.url}/console")
    page.get_by_role("link", name="New conversation").first.click()
    expect(message(page)).to_be_focused()
    message(page).fill("What is new?\nTell me")
    message(page).press("Enter")
    says(page, "What is new?\nTell me", "Hello, world")
    expect(page.get_by_role("textbox", name="Title")).to_have_value("What is new?")
    expect(rows(page).locator(".name")).to_have_text(["What is new?", "Old"])
    page.reload()
    says(page, "What is new?\nTell me", "Hello, world")


def test_a_draft_survives_a_reload(server: Server, elsewhere: Elsewhere, console: Open):
    id, other = elsewhere.begin("Draft"), elsewhere.begin("Other")
    page = console(at(server, id))
    message(page).fill("Not sent\nyet")
    page.reload()
    expect(message(page)).to_have_value("Not sent\nyet")
    page.goto(at(server, other))
    expect(message(page)).to_have_value("")
    page.go_back()
    expect(message(page)).to_have_value("Not sent\nyet")


def test_a_model_that_fails_is_asked_again(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    id = elsewhere.begin("Failing")
    hello = model.script
    model.script = lambda reply: reply.begin(500).end()
    page = console(at(server, id), may_fail=True)
    message(page).fill("Hi")
    message(page).press("Enter")
    expect(page.get_by_role("alert").filter(has_text="model")).to_be_visible()
    model.script = hello
    page.get_by_role("button", name="Retry").click()
    says(page, "Hi", "Hello, world")
    every = elsewhere.get(f"conversations/{id}", branch="all")["messages"]
    assert [each["role"] for each in every].count("user") == 1


def test_what_was_sent_without_a_connection_is_stored_once(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    id = elsewhere.begin("Offline")
    page = console(at(server, id), may_fail=True)
    page.route("**/api/v1/chat", lambda route: route.abort())
    message(page).fill("Are you there?")
    message(page).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Are you there?")
    page.unroute("**/api/v1/chat")
    page.reload()
    page.get_by_role("button", name="Retry").click()
    says(page, "Are you there?", "Hello, world")
    assert len(elsewhere.get(f"conversations/{id}")["messages"]) == 2


def test_the_page_goes_on_when_the_server_was_killed_and_is_back(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    id = elsewhere.begin("Killed", "Before")
    page = console(at(server, id), may_fail=True)
    says(page, "Before")
    server.kill()
    expect(page.get_by_text("No connection to the server. Trying again…")).to_be_visible()
    message(page).fill("Hello?")
    message(page).press("Enter")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    server.start().wait()
    expect(page.get_by_text("No connection to the server. Trying again…")).to_be_hidden()
    page.get_by_role("button", name="Retry").click()
    says(page, "Before", "Hello?", "Hello, world")
    elsewhere.begin("After")
    expect(rows(page).locator(".name")).to_have_text(["After", "Killed"])


# The menu


def test_a_conversation_is_renamed_pinned_tagged_archived_and_forked_by_its_menu(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Menu", "Hello")
    page = console(at(server, id))
    choose(page, "Rename")
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    expect(rows(page).locator(".name")).to_have_text(["Renamed"])
    choose(page, "Pin")
    expect(page.get_by_role("img", name="Pinned")).to_be_visible()
    choose(page, "Unpin")
    expect(page.get_by_role("img", name="Pinned")).to_be_hidden()
    choose(page, "Tags…")
    page.get_by_label("Tags, with commas between them").fill("one, two")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="two", exact=True)).to_be_visible()
    choose(page, "Archive")
    expect(rows(page)).to_have_count(0)
    choose(page, "Take out of the archive")
    expect(rows(page)).to_have_count(1)
    choose(page, "Fork")
    expect(rows(page)).to_have_count(2)
    kept = elsewhere.get(f"conversations/{id}")
    assert (kept["title"], kept["tags"]) == ("Renamed", ["one", "two"])


@pytest.mark.parametrize(
    ("item", "name", "begins"),
    [
        ("Export as Markdown", "Plans for Köln.md", "# Plans for Köln"),
        ("Export as JSON Lines", "Plans for Köln.jsonl", "{"),
    ],
)
def test_a_conversation_is_exported(
    server: Server, elsewhere: Elsewhere, console: Open, item: str, name: str, begins: str
):
    page = console(at(server, elsewhere.begin("Plans for Köln", "Hello", "World")))
    with page.expect_download() as download:
        choose(page, item)
    assert download.value.suggested_filename == name
    text = download.value.path().read_text()
    assert text.startswith(begins)
    assert "World" in text


def test_a_deletion_is_undone_and_the_trash_restores(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Deleted", "Hello")
    page = console(at(server, id))
    says(page, "Hello")
    choose(page, "Delete")
    expect(rows(page)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    says(page, "Hello")
    expect(rows(page)).to_have_count(1)
    choose(page, "Delete")
    page.get_by_role("button", name="Trash").click()
    page.get_by_role("button", name="Restore Deleted").click()
    says(page, "Hello")
    assert elsewhere.get(f"conversations/{id}")["title"] == "Deleted"


# The address, the keyboard


def test_reload_back_and_a_copied_link_show_the_same(
    server: Server, elsewhere: Elsewhere, console: Open
):
    one, two = elsewhere.begin("One", "First"), elsewhere.begin("Two", "Second")
    page = console(f"{server.url}/console")
    page.get_by_role("link", name=re.compile("^One")).click()
    says(page, "First")
    address(page, one)
    page.get_by_role("link", name=re.compile("^Two")).click()
    says(page, "Second")
    page.go_back()
    says(page, "First")
    page.reload()
    says(page, "First")
    page.go_forward()
    says(page, "Second")
    address(page, two)
    says(console(page.url), "Second")


def test_a_conversation_that_is_not_there_says_what_to_do(server: Server, console: Open):
    page = console(at(server, "01a20f71-b8ef-750d-8941-7a70f27b06c5"), may_fail=True)
    expect(page.get_by_role("alert")).to_contain_text("This conversation is not here")
    page.get_by_role("link", name="All conversations").click()
    expect(page.get_by_role("heading", name="Nothing has been said yet")).to_be_visible()


def test_loading_and_failing_have_looks_of_their_own(
    server: Server, elsewhere: Elsewhere, console: Open
):
    id = elsewhere.begin("Slow", "Hello")
    page = console(f"{server.url}/console", may_fail=True)
    expect(rows(page)).to_have_count(1)
    failure = {"title": "Internal error", "detail": "Report this instance's id.", "instance": "i-1"}
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/api/v1/conversations**", hold)
    page.route(f"**/api/v1/conversations/{id}?**", hold)
    page.goto("about:blank")
    page.goto(at(server, id))
    expect(page.get_by_role("main").get_by_text("Loading")).to_be_attached()
    shoot(page, "loading")
    while len(held) < 3:
        page.wait_for_timeout(20)
    for route in held:
        route.fulfill(status=500, json=failure)
    alerts = page.get_by_role("alert")
    expect(alerts.filter(has_text="Internal error")).to_have_count(2)
    expect(page.get_by_role("main")).to_contain_text("i-1")
    shoot(page, "failing")
    page.unroute_all()
    page.get_by_role("main").get_by_role("button", name="Try again").click()
    says(page, "Hello")
    expect(rows(page)).to_have_count(1)  # the side bar tries again by itself


def test_everything_works_by_keyboard(
    server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    elsewhere.begin("Alpha", "The first")
    elsewhere.begin("Beta", "The second")
    page = console(f"{server.url}/console")
    expect(rows(page)).to_have_count(2)
    page.keyboard.press("j")
    expect(rows(page).nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(rows(page).nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    says(page, "The second")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("first")
    expect(page.locator("mark")).to_have_text(["first"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    says(page, "The first")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(rows(page)).to_have_count(2)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("n")
    expect(message(page)).to_be_focused()
    page.keyboard.type("By keyboard")
    page.keyboard.press("Enter")
    says(page, "By keyboard", "Hello, world")
    menu = page.get_by_role("button", name="Conversation menu")
    page.keyboard.press("Shift+Tab")
    while not menu.evaluate("(element) => element === document.activeElement"):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="Pinned")).to_be_visible()
    expect(menu).to_be_focused()
