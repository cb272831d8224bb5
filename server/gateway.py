"""API Gateway as Chalice plays it, for the servers that are not Lambda."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import NamedTuple

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalGateway, LocalGatewayException

# The part of a body that is kept, as API Gateway has it. The app refuses a body of more than
# 6,000,000 bytes. Its client reads the refusal only if the server takes the rest of the body.
MAX_KEPT_BYTES = 10_000_000


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
        self._gateway = LocalGateway(app_object, constants)

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> GatewayResponse:
        """`target` is path and query as they were sent, percent-encoded.

        The names of headers are in lower case. Their values have one character for each byte.
        """
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
        if status in (204, 304):
            content = b""
        else:
            named["Content-Length"] = str(len(content))
        pairs = [
            (name, str(value))
            for name, values in named.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        return GatewayResponse(status, pairs, b"" if method == "HEAD" else content)
