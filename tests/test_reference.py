"""Tests the reference in a browser: it shows every operation, and asks nobody else for anything."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from app import app
from handlers.http.openapi import describe

from .support.console import shoot
from .support.processes import Server
from .support.world import PROJECT

pytestmark = pytest.mark.system

expect = pytest.importorskip("playwright.sync_api").expect
Open = Callable[..., Any]
OPERATIONS = {
    operation["operationId"]
    for methods in describe(app)["paths"].values()
    for operation in methods.values()
}


def test_every_operation_is_shown_with_its_parameters_examples_and_errors(
    console_server: Server, console: Open
):
    page = console(f"{console_server.url}/docs", height=1200)
    expect(page.get_by_role("heading", name="Confab")).to_be_visible()
    blocks = page.locator(".opblock")
    expect(blocks).to_have_count(len(OPERATIONS))
    shown = blocks.evaluate_all("(all) => all.map((block) => block.id.split('-').at(-1))")
    assert set(shown) == OPERATIONS
    shoot(page, "docs")
    for name in ("create_conversation", "chat", "follow_conversation", "list_items"):
        block = page.locator(f".opblock[id$='-{name}']")
        block.locator(".opblock-summary-control").click()
        expect(block.get_by_text("Responses", exact=True).first).to_be_visible()
        expect(block.get_by_text("422" if name != "list_items" else "400").first).to_be_visible()
        expect(block.locator(".highlight-code, .microlight").first).to_contain_text(
            re.compile("01a20f71|title|data")
        )
    shoot(page, "docs-operation")


def test_a_request_is_tried_with_ones_own_key(closed_server: Server, key: str, console: Open):
    page = console(f"{closed_server.url}/docs", may_fail=True)
    block = page.locator(".opblock[id$='-list_conversations']")
    block.locator(".opblock-summary-control").click()

    def answer() -> Any:
        block.get_by_role("button", name=re.compile("Execute")).click()
        return block.locator(".live-responses-table .response .response-col_status").first

    block.get_by_role("button", name=re.compile("Try it out")).click()
    expect(answer()).to_contain_text("401")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.get_by_label(re.compile("value", re.IGNORECASE)).last.fill(key)
    dialog.get_by_role("button", name=re.compile("credentials|authorize", re.I)).last.click()
    dialog.get_by_role("button", name="Close").last.click()
    expect(answer()).to_contain_text("200")
    assert PROJECT in block.locator(".curl").first.inner_text()
