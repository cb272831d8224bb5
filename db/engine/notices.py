"""Notices: what a commit changed is told in its process, so that those who wait need not ask.

A verb says within its transaction what it changes. The listeners hear of it after the commit, and
never if there is none. (PostgreSQL's NOTIFY does so between processes. It has a price: each of its
transactions takes one lock for the whole server to commit. So we don't use it.)
"""

from collections.abc import Callable, Hashable
from contextvars import ContextVar

# What somebody can wait for: a conversation, by its id, the changes of all that a scope covers, or
# something of this process alone.
Topic = Hashable

# Called with the topics of what changed, on the thread that committed it.
Listener = Callable[[set[Topic]], None]

# The topics of what the running transaction changed, or the whole group that has one commit.
pending: ContextVar[set[Topic] | None] = ContextVar("pending_notices", default=None)
_listeners: list[Listener] = []


def notify(topic: Topic) -> None:
    """Tell the listeners after the running transaction's commit that this changed."""
    changed = pending.get()
    if changed is not None:
        changed.add(topic)


def tell(topics: set[Topic]) -> None:
    """Tell the listeners of a commit. In a group, its commit is the one to be told of."""
    changed = pending.get()
    if changed is not None:
        changed |= topics
    else:
        for listener in _listeners:
            listener(topics)


def listen(listener: Listener) -> None:
    """Let `listener` hear of all commits of this process. It must be quick and raise nothing."""
    _listeners.append(listener)


def unlisten(listener: Listener) -> None:
    _listeners.remove(listener)
