"""Tests of the console on a slow or broken connection: nothing is lost, or lands elsewhere."""

from collections.abc import Callable
from typing import Any

import pytest

from .support.console import Elsewhere, address, at, choose, message, rows, says
from .support.model_server import ModelServer
from .support.processes import Server

pytestmark = pytest.mark.system

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
Open = Callable[..., Any]


def send(page: Any, text: str) -> None:
    message(page).fill(text)
    message(page).press("Enter")


def hold(page: Any, url: str, method: str) -> list[Any]:
    """Let requests wait. Each is in the list, and goes on when the test says so."""
    held: list[Any] = []

    def wait(route: Any) -> None:
        if route.request.method == method:
            held.append(route)
        else:
            route.continue_()

    page.route(url, wait)
    return held


def test_a_conversation_that_is_being_made_takes_no_others_place(
    console_server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    id = elsewhere.begin("Other", "There")
    page = console(f"{console_server.url}/console#/new")
    held = hold(page, "**/api/v1/conversations", "POST")
    with page.expect_request("**/api/v1/conversations"):
        send(page, "Hi")
    rows(page).filter(has_text="Other").click()
    says(page, "There")
    held[0].continue_()
    expect(rows(page).locator(".name")).to_have_text(["Hi", "Other"])
    address(page, id)
    send(page, "For the other one")
    says(page, "There", "For the other one", "Hello, world")
    rows(page).filter(has_text="Hi").click()
    says(page, "Hi", "Hello, world")


def test_a_change_is_not_shown_where_another_conversation_is(
    console_server: Server, elsewhere: Elsewhere, console: Open
):
    id, _ = elsewhere.begin("One", "1"), elsewhere.begin("Two", "2")
    page = console(at(console_server, id))
    says(page, "1")
    held = hold(page, f"**/api/v1/conversations/{id}", "PATCH")
    page.get_by_role("textbox", name="Title").fill("Renamed")
    with page.expect_request(lambda request: request.method == "PATCH"):
        rows(page).filter(has_text="Two").click()
    says(page, "2")
    held[0].continue_()
    expect(rows(page).locator(".name")).to_have_text(["Two", "Renamed"])
    expect(page.get_by_role("textbox", name="Title")).to_have_value("Two")
    says(page, "2")


def test_a_message_that_was_not_sent_is_given_back_when_another_one_is(
    console_server: Server, elsewhere: Elsewhere, console: Open
):
    page = console(at(console_server, elsewhere.begin("Offline")), may_fail=True)
    page.route("**/api/v1/chat", lambda route: route.abort())
    send(page, "The first")
    expect(page.get_by_role("alert")).to_contain_text("The first")
    send(page, "The second")
    expect(page.get_by_role("alert")).to_contain_text("The second")
    expect(message(page)).to_have_value("The first")


def test_an_edit_is_given_back_while_something_else_is_asked(
    console_server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    page = console(at(console_server, elsewhere.begin("Busy")))
    send(page, "Hi")
    says(page, "Hi", "Hello, world")
    hold(page, "**/api/v1/chat", "POST")
    question, answer = (page.get_by_role("article").nth(number) for number in range(2))
    answer.hover()
    with page.expect_request("**/api/v1/chat"):
        answer.get_by_role("button", name="Regenerate").click()
    question.hover()
    question.get_by_role("button", name="Edit message").click()
    page.get_by_role("textbox", name="Edited message").fill("Hi, there")
    page.get_by_role("button", name="Send again").click()
    expect(message(page)).to_have_value("Hi, there")


def test_an_answer_that_came_after_the_connection_was_lost_is_not_asked_for_again(
    console_server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    page = console(at(console_server, elsewhere.begin("Lost")), may_fail=True)

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/v1/chat", lose)
    send(page, "Hi")
    says(page, "Hi", "Hello, world")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert len(model.asked) == 1


def test_a_title_is_not_cut_within_a_character(
    console_server: Server, elsewhere: Elsewhere, console: Open, model: ModelServer
):
    elsewhere.begin("Old")
    page = console(f"{console_server.url}/console#/new")
    send(page, "a" * 58 + "😀bbbbbbbb")
    says(page, "a" * 58 + "😀bbbbbbbb", "Hello, world")
    expect(page.get_by_role("textbox", name="Title")).to_have_value("a" * 58 + "😀…")


def test_a_mistyped_key_takes_no_draft_away(closed_server: Server, key: str, console: Open):
    page = console(f"{closed_server.url}/console", may_fail=True)
    page.evaluate("sessionStorage.setItem('draft:new', 'Not sent yet')")
    for secret in ("confab_wrong", key):
        page.get_by_label("Key or token").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        if secret != key:
            expect(page.get_by_role("alert")).to_contain_text("is not known")
    page.get_by_role("link", name="New conversation").first.click()
    expect(message(page)).to_have_value("Not sent yet")


def test_tags_with_commas_stay_whole(console_server: Server, elsewhere: Elsewhere, console: Open):
    id = elsewhere.begin("Tagged")
    tags = ["a, b", "c"]
    elsewhere.patch(f"conversations/{id}", tags=tags)
    page = console(at(console_server, id))
    for added, expected in (("", tags), (", d", ["a, b", "c", "d"])):
        choose(page, "Tags…")
        field = page.get_by_role("dialog").get_by_role("textbox")
        field.fill(field.input_value() + added)
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.locator(".bar .tag")).to_have_text(expected)
    assert elsewhere.get(f"conversations/{id}")["tags"] == ["a, b", "c", "d"]


def test_a_project_that_the_lists_do_not_take_is_not_chosen(
    console_server: Server, elsewhere: Elsewhere, console: Open
):
    elsewhere.begin("Ours")
    page = console(f"{console_server.url}/console")
    projects = elsewhere.get("projects")
    newest = {"id": "acme", "last_active_at": "2100-01-01T00:00:00.000Z"}
    told = {**projects, "projects": [*projects["projects"], newest]}
    page.route("**/api/v1/projects", lambda route: route.fulfill(json=told))
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(rows(page).locator(".name")).to_have_text(["Ours"])
