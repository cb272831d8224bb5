"""The server of `chalice local`: the loop, on a socket of its own."""

import socket
from collections.abc import Callable

from .gateway import Gateway
from .loop import Loop

# A client that finds the queue full waits a second before TCP tries again. With 100 clients at once
# and a queue of 5, Python's default, the slowest one waited 1.7 s. Now it waits 0.3 s.
QUEUE_CONNECTIONS = 128


class LocalServer:
    """What `chalice local` serves with. `gateway` makes the gateway that answers."""

    def __init__(self, address: tuple[str, int], gateway: Callable[[], Gateway]) -> None:
        self.socket = socket.create_server(address, backlog=QUEUE_CONNECTIONS)
        self._loop = Loop([self.socket], gateway())

    def serve_forever(self) -> None:
        self._loop.run()

    def shutdown(self) -> None:
        """Let `serve_forever` end when all that has been received is answered."""
        self._loop.stop()

    def close(self) -> None:
        """After `serve_forever` has ended."""
        self._loop.close()
        self.socket.close()
