"""The pages for people: the console and the reference of the API, with the files that they load.

A page is asked for each time, and its files once: their path has a version, which is a hash of all
of them. So a browser may keep them for ever, and modules find each other by relative names. All is
text, because bodies are text behind API Gateway.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from chalice.app import Blueprint
from pydantic import BaseModel, ConfigDict, Field

from db.settings import settings

from .http.endpoint import ANY, OUTSIDE, Reply, endpoint
from .http.preconditions import IfNoneMatch
from .http.problems import NO_PAGE, Problem

routes = Blueprint(__name__)

STATIC = Path(__file__).parent / "static"
HTML = "text/html"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"
# Nothing is fetched from elsewhere, and nothing that a user or a model wrote becomes markup: no
# script can be made of text (`require-trusted-types-for`).
OF_CONSOLE = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'"
)
# Swagger UI sets styles on elements, and has its icons in `data:` URLs.
OF_REFERENCE = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
)
SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
OF_FILE = ("Cache-Control", *SECURITY)
OF_PAGE = ("Content-Security-Policy", "ETag", *OF_FILE)


class Page(NamedTuple):
    """A page's markup, and the files that it loads, by name."""

    name: str
    html: str
    files: dict[str, str]
    version: str

    def markup(self, root: str, sign_on: Any = None) -> str:
        """The markup for an address from which `root` leads to the root of the service."""
        html = self.html.replace("{folder}", f"{root}{self.name}/{self.version}")
        return html.replace("{sign_on}", "null" if sign_on is None else _escaped(sign_on))


def _escaped(value: Any) -> str:
    # Cold start: 1 ms, and most pages name no provider.
    from html import escape

    return escape(json.dumps(value))


@cache
def console_page() -> Page:
    return _page("console", [])


@cache
def reference_page() -> Page:
    """It is Swagger UI, as a package ships it."""
    (package,) = _places_of("fastapi_swagger")
    resources = Path(package) / "resources"
    return _page("docs", [resources / "swagger-ui.css", resources / "swagger-ui-bundle.js"])


def _places_of(package: str) -> Iterable[str]:
    """Where a package is. It is not imported: this one would need FastAPI."""
    spec = find_spec(package)
    return spec.submodule_search_locations or () if spec else ()


def _page(name: str, more: list[Path]) -> Page:
    folder = STATIC / name
    found = sorted(path for path in folder.iterdir() if path.suffix in MEDIA_TYPES)
    files = {path.name: path.read_text(encoding="utf-8") for path in [*found, *more]}
    digest = sha256("\0".join(part for file in files.items() for part in file).encode())
    html = (folder / "index.html").read_text(encoding="utf-8")
    return Page(name, html, files, digest.hexdigest()[:16])


class SignOnAnswer(BaseModel):
    """What an identity provider sends people back with. The page reads it; there may be more."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    code: str | None = Field(default=None, description="For which the page gets a token.")
    state: str | None = Field(default=None, description="Which sign-on it is.")
    error: str | None = Field(default=None, description="Why there is no code.")


@routes.route("/console", methods=["GET"], content_types=ANY)
@endpoint(media_types=(HTML,), sends=OF_PAGE, problems=(NO_PAGE,), waits_for=OUTSIDE)
def console(headers: IfNoneMatch, query: SignOnAnswer) -> Reply[str]:
    """A page to look at conversations, and to talk."""
    _refuse_if_off()
    sign_on = _sign_on()
    if sign_on is None:
        return _shown(console_page(), OF_CONSOLE, headers)
    policy = f"{OF_CONSOLE}; connect-src 'self' {_origin(sign_on.get('token_endpoint', ''))}"
    return _shown(console_page(), policy, headers, sign_on)


def _sign_on() -> dict[str, str] | None:
    """The identity provider, for the page: where to sign on and what to call it.

    If the provider is away, there are no endpoints. None if there is no provider for the page.
    """
    chosen = settings()
    if chosen.oidc_client_id is None or chosen.oidc_issuer is None:
        return None
    # Cold start: 2 ms, and most pages name no provider.
    from .http.identity_provider import provider

    told = provider().metadata() or {}
    endpoints = {name: str(told.get(name)) for name in ("authorization_endpoint", "token_endpoint")}
    shown = {
        "name": urlsplit(chosen.oidc_issuer).netloc,
        "issuer": chosen.oidc_issuer,
        "client_id": chosen.oidc_client_id,
    }
    is_usable = all(_origin(url) for url in endpoints.values())
    return {**shown, **endpoints} if is_usable else shown


def _origin(url: str) -> str:
    """The origin of a URL of the provider's, as a policy may name it, or "" if it has none."""
    scheme = str(settings().oidc_issuer).partition("://")[0]
    found = re.match(rf"{scheme}://([\w.-]+|\[[\da-f:]+\])(:\d+)?(?=/|$)", url, re.ASCII | re.I)
    return found[0] if found else ""


@routes.route("/console/{version}/{file}", methods=["GET"], content_types=ANY)
@endpoint(media_types=tuple(MEDIA_TYPES.values()), sends=OF_FILE, problems=(NO_PAGE,))
def console_file(version: str, file: str) -> Reply[str]:
    """A file of the console, to be kept for ever."""
    _refuse_if_off()
    return _file(console_page(), version, file)


@routes.route("/docs", methods=["GET"], content_types=ANY)
@endpoint(media_types=(HTML,), sends=OF_PAGE, problems=(NO_PAGE,))
def docs(headers: IfNoneMatch) -> Reply[str]:
    """A page to read this API's document, and to try requests."""
    _refuse_if_off()
    return _shown(reference_page(), OF_REFERENCE, headers)


@routes.route("/docs/{version}/{file}", methods=["GET"], content_types=ANY)
@endpoint(media_types=tuple(MEDIA_TYPES.values()), sends=OF_FILE, problems=(NO_PAGE,))
def docs_file(version: str, file: str) -> Reply[str]:
    """A file of the reference, to be kept for ever."""
    _refuse_if_off()
    return _file(reference_page(), version, file)


def _refuse_if_off() -> None:
    if not settings().console:
        raise Problem(NO_PAGE, "The pages are turned off here: set CONSOLE=true.")


def _shown(page: Page, policy: str, headers: IfNoneMatch, sign_on: Any = None) -> Reply[str]:
    html = page.markup(_way_to_root(), sign_on)
    tag = f'"{sha256(html.encode()).hexdigest()[:16]}"'
    sent = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy,
        "ETag": tag,
        **SECURITY,
    }
    if headers.names(tag):
        return Reply(html, sent, status=304)
    return Reply(html, sent)


def _way_to_root() -> str:
    """From the page's address, which may end with a slash. A stage is a path of its own."""
    request = routes.current_request
    return "../" if request.context["path"].endswith("/") else ""


def _file(page: Page, version: str, file: str) -> Reply[str]:
    if version != page.version or file not in page.files:
        raise Problem(NO_PAGE, f"There is no such file: load /{page.name} again.")
    media_type = MEDIA_TYPES[Path(file).suffix]
    return Reply(page.files[file], {"Cache-Control": FOR_EVER, **SECURITY}, media_type=media_type)
