"""Waiting: how a request tells its server that it will wait for something else than the database.

A server that answers many requests on one thread offers a way to let another thread take over. An
endpoint that is declared with `waits=True` takes the offer before it begins. On Lambda and in tests
there is no offer.
"""

from collections.abc import Callable
from contextvars import ContextVar

# To be called by a request that is about to wait. None: the server needs not know.
make_way: ContextVar[Callable[[], None] | None] = ContextVar("make_way", default=None)
