"""Tests how people sign in to the console at an identity provider."""

import hashlib
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from .support.console import shoot, violations
from .support.identity_provider import AUDIENCE, TOKEN, IdentityProvider
from .support.processes import ProductionServer, Server
from .support.world import PROJECT

pytestmark = pytest.mark.system
pytest.importorskip("playwright")
from playwright.sync_api import expect  # noqa: E402

Open = Callable[..., Any]


@pytest.fixture
def settings() -> dict[str, object]:
    """Further ones of the server, which a test may have by its parameters."""
    return {}


@pytest.fixture
def server(
    url: str, identity_provider: IdentityProvider, settings: dict[str, object]
) -> Iterator[Server]:
    sign_on = {"oidc_issuer": identity_provider.url, "oidc_client_id": AUDIENCE}
    with ProductionServer(url, workers=1, **sign_on, **settings) as server:
        yield server


@pytest.fixture
def sign_in(
    server: Server, console: Open, identity_provider: IdentityProvider
) -> Callable[..., Any]:
    """`sign_in("alice")` opens the console and signs on as her."""

    def open_page(user: str, address: str = "", **options: Any) -> Any:
        page = console(
            f"{server.url}/console{address}",
            may_fail=True,
            provider=identity_provider.url,
            **options,
        )
        page.get_by_role("button", name=re.compile("^Sign in with localhost")).click()
        if user:
            page.get_by_placeholder("sub").fill(user)
            page.get_by_role("button", name="Authorize").click()
        return page

    return open_page


def begin(server: Server, key: str, user: str, title: str) -> str:
    """Make a conversation of a user's, and return its id."""
    answer = httpx.post(
        f"{server.url}/api/v1/conversations",
        json={"project_id": PROJECT, "title": title},
        headers={"X-API-Key": key, "X-User-Id": user},
    )
    return str(answer.raise_for_status().json()["id"])


def test_who_signs_on_at_the_provider_sees_what_is_theirs(
    server: Server, key: str, sign_in: Open, identity_provider: IdentityProvider
):
    id = begin(server, key, "alice", "Of alice")
    begin(server, key, "bob", "Of bob")
    page = sign_in("alice", f"#/c/{id}")
    expect(page.locator("nav .name")).to_have_text(["Of alice"])
    assert page.url == f"{server.url}/console#/c/{id}"  # no code, and where one was
    page.reload()
    expect(page.locator("nav .name")).to_have_text(["Of alice"])
    asked, redeemed = (identity_provider.sent[path] for path in ("/oauth2/authorize", TOKEN))
    digest = hashlib.sha256(redeemed["code_verifier"].encode()).digest()
    assert asked["code_challenge"] == urlsafe_b64encode(digest).decode().rstrip("=")
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == redeemed["redirect_uri"] == f"{server.url}/console"
    assert (redeemed["client_id"], "client_secret" in redeemed) == (AUDIENCE, False)
    assert len({asked["state"], asked["nonce"], redeemed["code_verifier"]}) == 3
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key or token")).to_be_visible()
    assert "eyJ" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_who_is_refused_by_the_provider_is_told_why_and_may_try_again(
    server: Server, key: str, sign_in: Open
):
    page = sign_in("")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("alert")).to_contain_text("refused")
    assert page.url == f"{server.url}/console"
    page.get_by_label("Key or token").fill(key)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("searchbox")).to_be_visible()


@pytest.mark.parametrize("settings", [{"oidc_project": PROJECT}])
def test_a_new_user_of_the_one_project_begins_to_talk(sign_in: Open):
    page = sign_in("newcomer")
    expect(page.get_by_role("heading", name="Nothing has been said yet")).to_be_visible()
    expect(page.get_by_role("combobox", name="Project").get_by_role("option")).to_have_text(
        [PROJECT]
    )
    page.get_by_role("main").get_by_role("link", name="New conversation").click()
    page.get_by_role("textbox", name="Message").fill("Hello")
    page.get_by_role("textbox", name="Message").press("Enter")
    expect(page.get_by_role("article")).to_have_count(2)


@pytest.mark.parametrize("sent", ["code=stolen&state=mine", "error=x", "x=1&code="])
def test_a_link_does_not_sign_out_who_is_signed_in(
    server: Server, key: str, sign_in: Open, sent: str
):
    user = f"dora of {sent}"
    id = begin(server, key, user, "Of dora")
    page = sign_in(user, f"#/c/{id}")
    expect(page.locator("nav .name")).to_have_text(["Of dora"])
    page.goto(f"{server.url}/console?{sent}#/c/{id}")
    expect(page.locator("nav .name")).to_have_text(["Of dora"])
    assert page.url == f"{server.url}/console#/c/{id}"


@pytest.mark.parametrize("token", ["x", 7, None, "a.b.c", "a.bnVsbA.c"])
def test_a_token_that_is_none_is_not_taken(
    sign_in: Open, identity_provider: IdentityProvider, token: Any
):
    identity_provider.id_token = token or ""
    page = sign_in("alice")
    expect(page.get_by_role("alert")).to_have_text(
        re.compile("gave no ID token|is of another sign-on")
    )


def test_who_signs_on_after_another_finds_nothing_of_theirs(server: Server, sign_in: Open):
    page = sign_in("erin")
    page.get_by_role("main").get_by_role("link", name="New conversation").click()
    page.get_by_role("textbox", name="Message").fill("Of erin alone")
    page.wait_for_timeout(500)
    assert "Of erin alone" in page.evaluate("JSON.stringify(sessionStorage)")
    page.evaluate(
        "sessionStorage.setItem('confab', JSON.stringify("
        "{...JSON.parse(sessionStorage.getItem('confab')), token: 'a.b.c'}))"
    )
    page.reload()
    page.get_by_role("button", name=re.compile("^Sign in with localhost")).click()
    page.get_by_placeholder("sub").fill("frank")
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("searchbox")).to_be_visible()
    assert "Of erin alone" not in page.evaluate("JSON.stringify(sessionStorage)")


@pytest.mark.parametrize("sent", ["code=stolen&state=mine", "code=stolen", "error=x&state=mine"])
def test_a_code_of_somebody_else_is_not_taken(
    server: Server, console: Open, identity_provider: IdentityProvider, sent: str
):
    page = console(f"{server.url}/console?{sent}", may_fail=True)
    expect(page.get_by_role("alert")).to_contain_text("was not begun here")
    assert page.url == f"{server.url}/console"
    assert identity_provider.asked[TOKEN] == 0


def test_a_token_of_another_sign_on_is_not_taken(
    sign_in: Open, identity_provider: IdentityProvider
):
    identity_provider.id_token = identity_provider.token("mallory", nonce="another")
    page = sign_in("alice")
    expect(page.get_by_role("alert")).to_contain_text("is of another sign-on")
    expect(page.get_by_role("searchbox")).to_have_count(0)


def test_when_a_token_has_expired_one_signs_on_again_and_goes_on(
    server: Server, key: str, sign_in: Open, identity_provider: IdentityProvider
):
    id = begin(server, key, "carol", "Of carol")
    page = sign_in("carol", f"#/c/{id}")
    expect(page.locator("nav .name")).to_have_text(["Of carol"])
    expired = identity_provider.token("carol", exp=int(time.time()) - 3600)
    page.evaluate(
        "(token) => sessionStorage.setItem('confab', JSON.stringify("
        "{...JSON.parse(sessionStorage.getItem('confab')), token}))",
        expired,
    )
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("has expired")
    page.get_by_role("button", name=re.compile("^Sign in with localhost")).click()
    page.get_by_placeholder("sub").fill("carol")
    page.get_by_role("button", name="Authorize").click()
    expect(page.locator("nav .name")).to_have_text(["Of carol"])
    assert page.url == f"{server.url}/console#/c/{id}"


def test_while_the_provider_is_away_a_key_opens_the_console(
    server: Server, key: str, console: Open, identity_provider: IdentityProvider
):
    identity_provider.is_down = True
    page = console(f"{server.url}/console", may_fail=True)
    expect(page.get_by_role("status").filter(has_text="does not answer")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Sign in with"))).to_have_count(0)
    page.get_by_label("Key or token").fill(key)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("searchbox")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signing_in_with_a_provider_has_no_violation(server: Server, console: Open, scheme: str):
    page = console(
        f"{server.url}/console", width=360, bypass_csp=True, may_fail=True, scheme=scheme
    )
    expect(page.get_by_role("button", name=re.compile("^Sign in with localhost"))).to_be_focused()
    assert violations(page) == []
    shoot(page, f"{scheme}-sign-in-provider")
