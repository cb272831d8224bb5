"""The API's page, held against every answer that a test gets."""

import re

from chalice.app import Chalice
from chalice.local import RouteMatcher

from handlers.http.openapi import describe
from handlers.http.problems import MEDIA_TYPE

from .clients import Answer, Transport

# What every answer has, and no client minds.
OF_ALL = re.compile("content-type|access-control-.*")
# The gateway's own; a body that no route asked for; another function's request. Under "default".
OF_ANY_REQUEST = {200, 400, 403, 405, 413, 415, 421}


class Documented:
    """Another transport, and no answer over it that the page does not name."""

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
