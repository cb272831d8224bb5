"""Tests the console's and the reference's pages as they are served: headers, files and caching."""

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest

from handlers.pages import STATIC, console_page, reference_page

from .support.clients import Answer, Api, assert_problem
from .support.identity_provider import IdentityProvider
from .support.pages import files_of

PAGES = {"console": console_page, "docs": reference_page}
MAX_FIRST_VIEW = 120_000  # bytes
LATER = {
    "dialogs.js",
    "example.js",
    "sign-in.js",
    "sign-on.js",
}  # which the first view does not load

every_page = pytest.mark.parametrize("name", PAGES)


@every_page
def test_a_page_is_for_everybody_and_its_files_too(api: Api, name: str):
    page = api.get(f"/{name}", headers={"X-API-Key": None})
    assert (page.status, page.headers["content-type"]) == (200, "text/html")
    files = files_of(page)
    assert files
    for file in files:
        answer = api.get(f"/{file}", headers={"X-API-Key": None})
        assert answer.status == 200, file
        assert answer.body


@every_page
def test_a_pages_headers_allow_nothing_from_elsewhere(api: Api, name: str):
    headers = api.get(f"/{name}").headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "script-src" not in policy
    assert "connect-src" not in policy
    assert ("style-src" in policy) == (name == "docs")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@every_page
def test_a_page_is_asked_for_each_time_and_its_files_once(api: Api, name: str):
    page = api.get(f"/{name}")
    assert page.headers["cache-control"] == "no-cache"
    again = api.get(f"/{name}", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert api.get(f"/{name}", headers={"If-None-Match": '"another"'}).status == 200
    for file in files_of(page):
        assert f"{name}/{PAGES[name]().version}/" in file
        headers = api.get(f"/{file}").headers
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert headers["x-content-type-options"] == "nosniff"


@every_page
def test_a_page_with_a_slash_finds_its_files_too(api: Api, name: str):
    page = api.get(f"/{name}/")
    assert all(file.startswith(f"../{name}/") for file in files_of(page))


@every_page
def test_a_file_of_another_version_is_not_served_as_this_one(api: Api, name: str):
    file = next(iter(PAGES[name]().files))
    assert_problem(api.get(f"/{name}/0123456789abcdef/{file}"), 404, "page-not-found")
    version = PAGES[name]().version
    for wrong in ("index.html", "..", "%2e%2e%2fpages.py", "secret.js"):
        assert_problem(api.get(f"/{name}/{version}/{wrong}"), 404, "page-not-found")


@every_page
def test_a_page_can_be_turned_off(api: Api, configure: Callable[..., None], name: str):
    files = files_of(api.get(f"/{name}"))
    configure(console="false")
    for path in (name, *files):
        assert_problem(api.get(f"/{path}"), 404, "page-not-found")


@pytest.fixture
def provider(
    identity_provider: IdentityProvider, configure: Callable[..., None]
) -> IdentityProvider:
    configure(oidc_issuer=identity_provider.url, oidc_client_id="the <console>")
    return identity_provider


def told(page: Answer) -> Any:
    """What the page tells its modules of the provider."""
    (content,) = re.findall(r'<meta name="sign-on" content="([^"<>]*)">', page.body.decode())
    return json.loads(unescape(content))


def test_the_console_knows_where_to_sign_on_and_may_ask_for_the_token_there(
    api: Api, provider: IdentityProvider
):
    page = api.get("/console?session_state=whatever&scope=openid")
    assert told(page) == {
        "name": urlsplit(provider.url).netloc,
        "issuer": provider.url,
        "client_id": "the <console>",
        "authorization_endpoint": f"{provider.url}/oauth2/authorize",
        "token_endpoint": f"{provider.url}/oauth2/token",
    }
    policy = page.headers["content-security-policy"]
    assert policy.endswith(f"; connect-src 'self' {provider.url}")
    assert "connect-src" not in api.get("/docs").headers["content-security-policy"]


def test_without_a_client_id_the_console_knows_no_provider(api: Api, configure):
    configure(oidc_issuer="https://id.example.org", oidc_audience="app")
    page = api.get("/console")
    assert told(page) is None
    assert "connect-src" not in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "endpoint", [None, 7, "javascript:alert(1)", "https://a b/", "https://a;script-src *", "//a/"]
)
def test_the_console_is_there_while_the_provider_is_away_or_tells_nonsense(
    api: Api, provider: IdentityProvider, endpoint: Any
):
    provider.document = {"token_endpoint": endpoint}
    page = api.get("/console")
    assert (page.status, "token_endpoint" in told(page)) == (200, False)
    assert page.headers["content-security-policy"].endswith("; connect-src 'self' ")


def test_the_first_view_is_small():
    """The page, its modules, its style and its picture. Nothing else is loaded: no fonts."""
    page = console_page()
    first = {name: text for name, text in page.files.items() if name not in LATER}
    assert len(page.markup("").encode()) + sum(len(text.encode()) for text in first.values()) < (
        MAX_FIRST_VIEW
    )


def test_the_modules_that_are_imported_at_first_are_announced():
    page = console_page()
    imported = {
        name
        for file, text in page.files.items()
        if file.endswith(".js") and file not in LATER
        for name in re.findall(r'^import .*?"\./([\w-]+\.js)"', text, re.MULTILINE)
    }
    announced = set(re.findall(r'rel="modulepreload" href="\{folder\}/([^"]+)"', page.html))
    assert announced == imported
    assert imported | {"console.js"} | LATER == {n for n in page.files if n.endswith(".js")}


@pytest.mark.parametrize("file", sorted(STATIC.glob("*/*.*")), ids=lambda file: file.name)
def test_no_file_has_inline_code_or_makes_markup_of_text(file):
    text = file.read_text()
    if file.suffix == ".html":
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text) == []
    if file.suffix == ".js":
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
        assert re.findall(forbidden, text) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[\w.]+\.\w+/?[\w]", text) == []
