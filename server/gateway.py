"""API Gateway as Chalice plays it, for the servers that are not Lambda."""

import uuid
from collections.abc import Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import NamedTuple

from chalice.app import Chalice, Response
from chalice.config import Config
from chalice.local import LocalGateway, LocalGatewayException

from handlers.http.headers import REQUEST_ID
from handlers.http.middleware import failure

# The most of a body that is read, as API Gateway has it. The app refuses more than 6,000,000 bytes.
MAX_KEPT_BYTES = 10_000_000


class GatewayRequest(NamedTuple):
    """`target` is path and query as they were sent, percent-encoded.

    The names of headers are in lower case. Their values have one character for each byte.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class GatewayResponse(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Gateway:
    def __init__(self, app_object: Chalice, config: Config) -> None:
        # Chalice looks these up in several dictionaries for each request, which takes 10 µs.
        constants = SimpleNamespace(
            function_name=config.function_name,
            lambda_memory_size=config.lambda_memory_size,
            lambda_timeout=config.lambda_timeout,
        )
        self._routes = app_object.routes
        self._gateway = LocalGateway(app_object, constants)
        # `waits` and the gateway ask for the same route. Chalice's matcher finds it once.
        matcher = self._gateway.event_converter._route_matcher
        matcher.match_route = self._match = lru_cache(1024)(matcher.match_route)

    def waits(self, request: GatewayRequest) -> bool:
        """Whether the request's endpoint may wait for something else than the database."""
        try:
            route = self._match(request.target).route
        except ValueError:  # there is no such path
            return False
        entry = self._routes[route].get(request.method)
        return entry is not None and entry.view_function.endpoint.waits

    def answer(self, request: GatewayRequest) -> GatewayResponse:
        method, target, headers, body = request
        # Chalice fails on an unknown path if this header is not ASCII, and no valid one is not.
        if not headers.get("authorization", "").isascii():
            headers = {name: headers[name] for name in headers if name != "authorization"}
        try:
            response = self._gateway.handle_request(method, target, headers, body)
            status, content = response["statusCode"], (response["body"] or "").encode()
            named = {**response["headers"], **response["multiValueHeaders"]}
        except LocalGatewayException as error:  # there is no such path
            status, content = error.CODE, error.body or b""
            named = {"Content-Type": "application/json", **error.headers}
        return _response(status, named, content, method)

    def failed(
        self, request: GatewayRequest, error: Exception, instead_of: GatewayResponse | None = None
    ) -> GatewayResponse:
        """The problem for a request that failed, in the place of the answer that it had, if any."""
        sent = dict(instead_of.headers) if instead_of else {}
        response: Response = failure(error, sent.get(REQUEST_ID) or str(uuid.uuid4()))
        content = str(response.body).encode()
        return _response(response.status_code, response.headers, content, request.method)


def _response(
    status: int, named: Mapping[str, str | list[str]], content: bytes, method: str
) -> GatewayResponse:
    pairs = [
        (name, str(value))
        for name, values in named.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    if status in (204, 304):
        return GatewayResponse(status, pairs, b"")
    pairs.append(("Content-Length", str(len(content))))
    return GatewayResponse(status, pairs, b"" if method == "HEAD" else content)
