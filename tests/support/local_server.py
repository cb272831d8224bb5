"""Fixtures for the server of `chalice local`, run in a thread of the test's process."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import format_stack

import pytest
from chalice.config import Config
from chalice.local import LocalDevServer

import server.threads
from app import app
from server.gateway import Gateway
from server.local import LocalServer

from .processes import PATIENCE


@pytest.fixture
def development(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalDevServer]:
    """A server on an open stage that accepts connections and does not answer."""
    configure(require_api_key="false")
    monkeypatch.setattr(server.threads, "IDLE_SECONDS", 0.1)  # each test waits for its threads
    development = LocalDevServer(
        app, Config(), "127.0.0.1", 0, handler_cls=Gateway, server_cls=LocalServer
    )
    yield development
    development.server.close()


@contextmanager
def serving(development: LocalDevServer) -> Iterator[None]:
    thread = threading.Thread(target=development.serve_forever)
    thread.start()
    yield
    development.shutdown()
    thread.join(PATIENCE)
    if not eventually(lambda: threads_aside() == 0):
        stuck = [each for each in threading.enumerate() if each.name == "aside"]
        frames = sys._current_frames()
        for each in stuck:
            each.name = "left behind"  # so that it fails this test, and no other
        stacks = ["".join(format_stack(frames.get(each.ident or 0))) for each in stuck]
        pytest.fail("Threads are left behind:\n" + "\n".join(stacks))


@pytest.fixture
def port(development: LocalDevServer) -> Iterator[int]:
    """The port of a server that answers."""
    with serving(development):
        yield development.server.socket.getsockname()[1]


def threads_aside() -> int:
    """The threads that answer requests beside the loop."""
    return sum(thread.name == "aside" for thread in threading.enumerate())


def eventually(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
