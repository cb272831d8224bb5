"""A worker of gunicorn that serves with the loop. So development and production are one server.

gunicorn is the process manager: it forks workers, restarts one that ends, reloads and stops them.
The workers accept from the same socket.
"""

import os
import time
from typing import Any

from chalice.config import Config
from chalice.local import LocalChalice
from gunicorn.workers.base import Worker

from .gateway import Gateway
from .loop import Loop

NOTIFY_SECONDS = 1.0  # between two signs of life to the arbiter


class LoopWorker(Worker):
    """`wsgi_app` has to name a Chalice app, which is not a WSGI application."""

    _loop: Loop | None = None
    _notified = 0.0

    def run(self) -> None:
        app = self.wsgi
        app.__class__ = LocalChalice  # each thread has a current request of its own
        listening = [each.sock for each in self.sockets]
        self._loop = Loop(listening, Gateway(app, Config()), self._on_turn)
        if not self.alive:  # SIGTERM came before the loop was there
            return
        self._loop.run()
        self._loop.close()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: answer what has been received, then end."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.stop()

    def _on_turn(self) -> None:
        now = time.monotonic()
        if now < self._notified + NOTIFY_SECONDS:
            return
        self._notified = now
        self.notify()
        if self.ppid != os.getppid() and self._loop is not None:
            self.log.info("The arbiter is gone, so this worker ends: %s", self)
            self._loop.stop()
