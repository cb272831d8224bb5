"""The app as a WSGI application: Chalice's own gateway under a production server.

`make serve-production` runs it in gunicorn. It is not in Lambda's package, where there is no
`chalice.local`.
"""

from collections.abc import Callable, Iterable
from http.client import responses
from typing import Any

from chalice.config import Config
from chalice.local import LocalChalice, LocalGateway, LocalGatewayException

from app import app

# Bytes of a body, as API Gateway takes them. The app refuses one over 6,000,000; its client gets to
# know that if all of it is read, and the rest of a longer one is not worth reading.
READ_AT_MOST = 10_000_000

# As `chalice local` does it: each thread has a current request of its own.
app.__class__ = LocalChalice
gateway = LocalGateway(app, Config())


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    try:
        response = gateway.handle_request(
            environ["REQUEST_METHOD"],
            environ["RAW_URI"],  # as it was sent; PATH_INFO has lost what was percent-encoded
            _headers(environ),
            environ["wsgi.input"].read(READ_AT_MOST),
        )
        status, body = response["statusCode"], (response["body"] or "").encode()
        headers = {**response["headers"], **response["multiValueHeaders"]}
    except LocalGatewayException as error:  # no such path
        status, body = error.CODE, error.body or b""
        headers = {"Content-Type": "application/json", **error.headers}
    if status not in (204, 304):
        headers["Content-Length"] = str(len(body))
    start_response(f"{status} {responses.get(status, '')}", _pairs(headers))
    return [body]


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    named = {key: environ.get(key) for key in ("CONTENT_TYPE", "CONTENT_LENGTH")}
    named |= {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    # No route takes it, and for an unknown path the gateway fails if it is not ASCII.
    named.pop("AUTHORIZATION", None)
    return {key.replace("_", "-").lower(): value for key, value in named.items() if value}


def _pairs(headers: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, str(value))
        for name, values in headers.items()
        for value in (values if isinstance(values, list) else [values])
    ]
