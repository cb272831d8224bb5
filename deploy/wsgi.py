"""The app as a WSGI application: Chalice's own gateway under a production server.

`make serve-production` runs it in gunicorn. It is not in Lambda's package, where there is no
`chalice.local`.
"""

from collections.abc import Callable, Iterable
from http.client import responses
from typing import Any

from chalice.config import Config
from chalice.local import LocalChalice

from app import app
from handlers.http.gateway import READ_AT_MOST, Gateway

# As `chalice local` does it: each thread has a current request of its own.
app.__class__ = LocalChalice
gateway = Gateway(app, Config())


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, headers, body = gateway.answer(
        environ["REQUEST_METHOD"],
        environ["RAW_URI"],  # as it was sent; PATH_INFO has lost what was percent-encoded
        _headers(environ),
        environ["wsgi.input"].read(READ_AT_MOST),
    )
    start_response(f"{status} {responses.get(status, '')}", headers)
    return [body]


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    named = {key: environ.get(key) for key in ("CONTENT_TYPE", "CONTENT_LENGTH")}
    named |= {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    return {key.replace("_", "-").lower(): value for key, value in named.items() if value}
