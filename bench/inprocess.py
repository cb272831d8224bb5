"""The app in this process: requests go through Chalice's gateway, without a socket."""

import json
import logging
from typing import Any

from chalice.config import Config
from chalice.local import LocalGateway

from app import app
from db.engine.database import keeps_connection

from .data import key_for


class NoStream:
    """The log's stream: each line is made, but not written."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


for handler in logging.getLogger("confab").handlers:
    handler.setStream(NoStream())


class Gateway:
    """`gateway.send("GET", path)` returns the body of the answer as text."""

    def __init__(self) -> None:
        keeps_connection.set(True)  # as the server's loop does
        self._gateway = LocalGateway(app, Config.create())

    def send(self, method: str, path: str, body: bytes | None = None, **more: str) -> str:
        # A dict of its own for each request, since Chalice adds to it.
        headers = {"Content-Type": "application/json", **key_for(path), **more}
        answer = self._gateway.handle_request(method, path, headers, body)
        if answer["statusCode"] >= 300:
            raise RuntimeError(f"{method} {path}: {answer}")
        return answer["body"]

    def json(self, method: str, path: str, body: Any = None) -> Any:
        raw = None if body is None else json.dumps(body).encode()
        return json.loads(self.send(method, path, raw))
