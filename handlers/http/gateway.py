"""API Gateway as Chalice plays it, for the servers that are not Lambda."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import NamedTuple

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalGateway, LocalGatewayException

# Bytes of a body, as API Gateway takes them. The app refuses one over 6,000,000; its client gets to
# know that if all of it is read, and the rest of a longer one is not worth keeping.
READ_AT_MOST = 10_000_000


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Gateway:
    def __init__(self, app_object: Chalice, config: Config) -> None:
        # For each request it asks for these, which Chalice looks up in several dictionaries: 10 µs.
        asked = SimpleNamespace(
            function_name=config.function_name,
            lambda_memory_size=config.lambda_memory_size,
            lambda_timeout=config.lambda_timeout,
        )
        self._gateway = LocalGateway(app_object, asked)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """`target` is path and query as they were sent, percent-encoded. A header's name is in
        lower case, its value has a character for each byte."""
        # No route takes it, and for an unknown path Chalice fails if it is not ASCII.
        taken = {name: value for name, value in headers.items() if name != "authorization"}
        try:
            response = self._gateway.handle_request(method, target, taken, body)
            status, content = response["statusCode"], (response["body"] or "").encode()
            named = {**response["headers"], **response["multiValueHeaders"]}
        except LocalGatewayException as error:  # no such path
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
        return Answer(status, pairs, b"" if method == "HEAD" else content)
