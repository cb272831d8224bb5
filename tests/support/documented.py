"""A transport that checks every answer against the OpenAPI document."""

import re

from chalice.app import Chalice
from chalice.local import RouteMatcher

from handlers.http.openapi import describe
from handlers.http.problems import MEDIA_TYPE

from .clients import Answer, Transport

# Every answer has these headers, so the OpenAPI document does not list them.
OF_ALL = re.compile("content-type|access-control-.*")
# The gateway or the endpoint can answer any request with these. They are documented as "default".
OF_ANY_REQUEST = {200, 400, 403, 405, 413, 415, 421}


class Documented:
    """Wraps a transport and fails on an answer that the OpenAPI document does not describe."""

    def __init__(self, transport: Transport, app: Chalice) -> None:
        self._transport = transport
        self._paths = describe(app)["paths"]
        self._routes = RouteMatcher(list(self._paths))

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        answer = self._transport.send(method, path, headers, body)
        documented = self._responses(method, path).get(str(answer.status))
        if documented:
            known = {name.lower() for name in documented["headers"]}
            sent = {name for name in answer.headers if not OF_ALL.fullmatch(name)}
            assert sent <= known, f"{method} {path} sends {sent - known}"
            if answer.headers["content-type"] == MEDIA_TYPE:
                schema = documented["content"][MEDIA_TYPE]["schema"]
                assert answer.json["type"] in schema["properties"]["type"]["enum"], answer
        else:
            assert answer.status in OF_ANY_REQUEST, answer
        return answer

    def _responses(self, method: str, path: str) -> dict[str, dict]:
        try:
            item = self._paths[self._routes.match_route(path).route]
        except ValueError:
            return {}
        return item.get(method.lower(), {}).get("responses", {})
