"""The app in this process: requests go through the server's gateway, without a socket."""

import json
import logging
from typing import Any

from chalice.config import Config

from app import app
from db.engine.database import keeps_connection
from server.gateway import Gateway as ServerGateway
from server.gateway import GatewayRequest

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
        self._gateway = ServerGateway(app, Config.create())

    def send(self, method: str, path: str, body: bytes | None = None, **more: str) -> str:
        named = {"Content-Type": "application/json", **key_for(path), **more}
        headers = {name.lower(): [value] for name, value in named.items()}
        answer = self._gateway.answer(GatewayRequest(method, path, headers, body or b""))
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer}")
        return answer.body.decode()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        raw = None if body is None else json.dumps(body).encode()
        return json.loads(self.send(method, path, raw))
