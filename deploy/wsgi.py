"""The app as a WSGI application: Chalice's own gateway under a production server.

`make serve-production` runs it in gunicorn. Lambda's package has neither this file nor
`chalice.local`.
"""

from collections.abc import Callable, Iterable
from http.client import responses
from typing import Any

from chalice.config import Config
from chalice.local import LocalChalice

from app import app
from server.gateway import MAX_KEPT_BYTES, Gateway

# As under `chalice local`, each thread has a current request of its own.
app.__class__ = LocalChalice
gateway = Gateway(app, Config())


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    response = gateway.answer(
        environ["REQUEST_METHOD"],
        environ["RAW_URI"],  # as it was sent; PATH_INFO is decoded already
        _headers(environ),
        environ["wsgi.input"].read(MAX_KEPT_BYTES),
    )
    reason = responses.get(response.status, "")
    start_response(f"{response.status} {reason}", response.headers)
    return [response.body]


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    named = {key: environ.get(key) for key in ("CONTENT_TYPE", "CONTENT_LENGTH")}
    named |= {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    return {key.replace("_", "-").lower(): value for key, value in named.items() if value}
