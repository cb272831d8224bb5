"""An HTTP client on one connection, cheap enough for hundreds of them in one thread."""

import asyncio
import json
from typing import Any, NamedTuple

from bench.data import API_KEY

PATIENCE_SECONDS = 60  # for one answer; a write may wait for others and for a lock


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # by their names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The slug of a problem, such as `unavailable`."""
        return str(self.json()["type"]).rpartition("/")[2] if self.status >= 400 else ""


class Cut(Exception):
    """The connection ended before the answer did. `received` is what came of the body."""

    def __init__(self, received: bytes = b"") -> None:
        super().__init__()
        self.received = received


class Client:
    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Answer:
        """The answer. After `patience` seconds the client closes the connection. Raises Cut."""
        content = b"" if body is None else json.dumps(body).encode()
        named = {
            "Host": "127.0.0.1",
            "X-API-Key": API_KEY,
            "Content-Length": str(len(content)),
            **({"Content-Type": "application/json"} if content else {}),
            **(headers or {}),
        }
        head = "\r\n".join(
            [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
        )
        try:
            async with asyncio.timeout(patience):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = self._streams
                writer.write(head.encode() + b"\r\n\r\n" + content)
                return await self._receive(reader)
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            self.close()
            raise Cut(getattr(error, "partial", b"")) from None
        except BaseException:  # cancelled: the answer is still to come on this connection
            self.close()
            raise

    async def _receive(self, reader: asyncio.StreamReader) -> Answer:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except EOFError:
            raise ConnectionResetError from None  # a part of the head is no part of the body
        first, *lines = head.split("\r\n")[:-2]
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(first.split()[1]), headers, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
