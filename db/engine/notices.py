"""Notices: what a commit changed is told in its process, so that those who wait need not ask.

A verb says within its transaction what it changes. The listeners hear of it after the commit, and
never if there is none. (PostgreSQL's NOTIFY does so between processes. It has a price: each of its
transactions takes one lock for the whole server to commit. So we don't use it.)
"""

from collections.abc import Callable
from contextvars import ContextVar

# Called with the ids of what changed, on the thread that committed it.
Listener = Callable[[set[str]], None]

# The ids of what the running transaction changed, or the whole group that has one commit.
pending: ContextVar[set[str] | None] = ContextVar("pending_notices", default=None)
_listeners: list[Listener] = []


def notify(id: str) -> None:
    """Tell the listeners after the running transaction's commit that this conversation changed."""
    changed = pending.get()
    if changed is not None:
        changed.add(id)


def tell(ids: set[str]) -> None:
    """Tell the listeners of a commit. In a group, its commit is the one to be told of."""
    changed = pending.get()
    if changed is not None:
        changed |= ids
    else:
        for listener in _listeners:
            listener(ids)


def listen(listener: Listener) -> None:
    """Let `listener` hear of all commits of this process. It must be quick and raise nothing."""
    _listeners.append(listener)


def unlisten(listener: Listener) -> None:
    _listeners.remove(listener)
