"""An identity provider: oidc-provider-mock, whose keys and answers a test can change."""

import json
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from handlers.http import identity_provider as ours

from .processes import PATIENCE

with warnings.catch_warnings():
    import authlib.deprecate  # noqa: F401 - which lets its warnings be shown always

    warnings.simplefilter("ignore")  # the provider uses a module that is about to move
    import flask
    import oidc_provider_mock
    from authlib.jose import RSAKey
    from oidc_provider_mock._app import AuthorizationCodeGrant
    from werkzeug.serving import WSGIRequestHandler, make_server

# It asks each client for a secret, which a page in a browser cannot have.
AuthorizationCodeGrant.TOKEN_ENDPOINT_AUTH_METHODS = ["none"]

AUDIENCE = "confab-app"
AGE = 3600  # seconds for which a token is good
DOCUMENT, KEYS, TOKEN = "/.well-known/openid-configuration", "/jwks", "/oauth2/token"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


class IdentityProvider:
    """Signs people on as a real one does."""

    def __init__(self) -> None:
        self.reset()
        self._storage: Any = None
        app = oidc_provider_mock.app()
        app.before_request(self._note)
        app.after_request(self._change)
        self._server = make_server("localhost", 0, app, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://localhost:{self._server.server_port}"
        httpx.get(self.url + KEYS)  # now its storage is known
        self.asked.clear()

    def reset(self) -> None:
        self.asked: Counter[str] = Counter()  # requests by path
        self.sent: dict[str, dict[str, str]] = {}  # the last query and form by path
        self.is_down = False
        self.delay = 0.0  # seconds before it answers
        self.document: dict[str, Any] = {}  # what it tells of itself instead of what is true
        self.keys: list[Any] | None = None  # which it tells instead of its own
        self.id_token: str | None = None  # which it gives instead of a good one
        self.content: bytes | None = None  # which it sends instead of what it tells of itself
        self.headers: dict[str, str] = {}  # with these

    def _note(self) -> Any:
        request = flask.request
        self._storage = flask.g.oidc_provider_mock_storage
        self.asked[request.path] += 1
        self.sent[request.path] = {**request.args, **request.form}
        time.sleep(self.delay)
        return ("It is down.", 503) if self.is_down else None

    def _change(self, response: Any) -> Any:
        response.headers["Access-Control-Allow-Origin"] = "*"  # pages of others may ask it
        if "error=" in response.headers.get("Location", "") and "state" in flask.request.args:
            # It forgets the state (RFC 6749, 4.1.2.1).
            response.headers["Location"] += f"&state={flask.request.args['state']}"
        changed: Any = None
        if flask.request.path == DOCUMENT and self.document:
            changed = {**response.get_json(), **self.document}
        elif flask.request.path == KEYS and self.keys is not None:
            changed = {"keys": self.keys}
        elif flask.request.path == TOKEN and self.id_token is not None:
            changed = {**response.get_json(), "id_token": self.id_token}
        if self.content is not None and flask.request.path == DOCUMENT:
            response.set_data(self.content)
            response.headers.update(self.headers)
        elif changed is not None and not self.is_down:
            response.set_data(json.dumps(changed))
        return response

    @property
    def public_keys(self) -> list[dict[str, Any]]:
        return [self._storage.jwk.as_dict(is_private=False)]

    @property
    def private_key(self) -> Any:
        return self._storage.jwk.get_private_key()

    @property
    def key_id(self) -> str:
        return str(self.public_keys[0]["kid"])

    def rotate(self) -> None:
        """Sign with another key from now on. The old one is not told any more."""
        self._storage.jwk = RSAKey.generate_key(is_private=True)

    def sign_on(self, user_id: str) -> str:
        """The ID token of a user who signs on, as an app gets it."""
        client = {"client_id": AUDIENCE, "redirect_uri": "http://localhost/app"}
        query = {**client, "response_type": "code", "scope": "openid email", "state": "s"}
        answer = httpx.post(
            f"{self.url}/oauth2/authorize", params=query, data={"sub": user_id}, timeout=PATIENCE
        )
        (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
        form = {**client, "grant_type": "authorization_code", "code": code}
        return str(httpx.post(self.url + TOKEN, data=form).json()["id_token"])

    def token(
        self,
        user_id: str = "alice",
        *,
        key: Any = None,
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token that it could have signed, or with another `key` one that is forged.

        A claim or a header that is None is left out.
        """
        now = int(time.time())
        told = {"iss": self.url, "aud": AUDIENCE, "sub": user_id, "iat": now, "exp": now + AGE}
        head = {"kid": self.key_id, **(headers or {})}
        return jwt.encode(
            {name: value for name, value in {**told, **claims}.items() if value is not None},
            self.private_key if key is None else key,
            algorithm,
            {name: value for name, value in head.items() if value is not None},
        )

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()


def signed(provider: IdentityProvider, claims: dict[str, Any]) -> str:
    """A token with any claims: PyJWT itself would refuse to make some of them."""
    told = {"iss": provider.url, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + AGE}
    payload = {name: value for name, value in {**told, **claims}.items() if value is not None}
    return jwt.PyJWS().encode(
        json.dumps(payload).encode(), provider.private_key, "RS256", {"kid": provider.key_id}
    )


@pytest.fixture(scope="module")
def running_provider() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    yield provider
    provider.close()


@pytest.fixture
def identity_provider(running_provider: IdentityProvider) -> IdentityProvider:
    """A provider that nobody has asked for anything yet."""
    running_provider.reset()
    ours._provider.cache_clear()
    return running_provider
