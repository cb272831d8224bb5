"""From the nodes of an export to messages in the order in which they are stored.

Exports have parents that do not exist, circles, and chains of thousands. So nothing here recurses.
"""

import json
import time
from typing import Any, NamedTuple

from ..conversations import IMPORT
from ..models import Content, decode_content, type_of
from .parsed import Node, Object, Parsed, Said
from .values import json_text


class Placed(NamedTuple):
    """A message in its place, as it is stored: its JSON is text.

    So it is also handed to another process in a tenth of the time.
    """

    id: str
    parent: str | None  # the source's id of the nearest ancestor that is a message
    role: str
    content: str
    content_type: str
    status: str
    metadata: Any  # text, or None
    client_id: str | None
    time: int  # milliseconds
    updated: int

    @property
    def decoded_content(self) -> Content:
        return decode_content(self.content, self.content_type)

    @property
    def decoded_metadata(self) -> Object | None:
        return None if self.metadata is None else json.loads(self.metadata)


class Tree(NamedTuple):
    """A settled conversation. Parents come before their children."""

    created: int
    messages: list[Placed]
    leaf: str | None
    branches: int  # leaves


def settle(parsed: Parsed) -> Tree:
    """Find each message's parent, time and position, and the active leaf.

    A message is at least 1 ms later than its parent. So a time depends on the path to the root
    alone, and a later export gives the same one. The order is by time and then as in the file. What
    was ours has the order of its positions already, whatever its times are.
    """
    nodes = parsed.nodes
    now = time.time_ns() // 1_000_000
    created = _created(parsed, now)
    parents: dict[str, str | None] = {}
    nearest: dict[str, str | None] = {}  # the nearest ancestor that is a message
    times: dict[str, int] = {}
    for id in nodes:
        for at in _walk_to(id, nodes, parents, times):
            node, parent = nodes[at], parents[at]
            own = None if node.time is None else min(node.time, now)
            if parent is None:
                nearest[at], times[at] = None, created if own is None else own
            else:
                nearest[at] = parent if nodes[parent].said is not None else nearest[parent]
                least = times[parent] + 1
                times[at] = least if own is None or own < least else own
    order = list(nodes)
    if not (parsed.is_exact and _is_in_order(order, parents)):
        order.sort(key=times.__getitem__)  # it keeps the order of the file
    if parsed.is_exact:
        own_times = ((id, node.time) for id, node in nodes.items())
        times.update({id: min(own, now) for id, own in own_times if own is not None})
    messages = [
        _placed(id, node, node.said, parents[id], nearest[id], times[id], now)
        for id, node in ((id, nodes[id]) for id in order)
        if node.said is not None
    ]
    inner = {placed.parent for placed in messages}
    leaves = [placed.id for placed in messages if placed.id not in inner]
    return Tree(created, messages, _leaf(parsed, nodes, nearest, leaves), len(leaves))


def _placed(
    id: str,
    node: Node,
    said: Said,
    source_parent: str | None,
    parent: str | None,
    time: int,
    now: int,
) -> Placed:
    """A message, with the source's place and time in its metadata where these are others here."""
    role, content, status, metadata, client_id = said
    if metadata is not None and (note := metadata.get(IMPORT)) is not None:
        if source_parent != parent:
            note["parent"] = source_parent
        if node.time is not None and node.time != time:
            note["time"] = node.time
    text = content if isinstance(content, str) else json_text(content)
    noted = None if metadata is None else json_text(metadata)
    updated = max(time, min(node.updated or 0, now))
    return Placed(id, parent, role, text, type_of(content), status, noted, client_id, time, updated)


def _walk_to(
    id: str, nodes: dict[str, Node], parents: dict[str, str | None], times: dict[str, int]
) -> list[str]:
    """A node and its ancestors that have no time yet, the oldest first. Each gets its parent.

    A circle begins where it was opened.
    """
    if (parent := nodes[id].parent) in times and id not in times:  # as in most exports
        parents[id] = parent
        return [id]
    walk: list[str] = []
    at: str | None = id
    while at is not None and at not in parents:
        walk.append(at)
        named = nodes[at].parent
        parent = named if named in nodes else None
        parents[at], at = parent, parent
    if at is not None and at not in times:  # this walk has come back to it
        parents[at] = None
    walk.reverse()
    for index, at in enumerate(walk):
        if parents[at] is None:
            return walk[index:] + walk[:index]
    return walk


def _is_in_order(order: list[str], parents: dict[str, str | None]) -> bool:
    """Whether each parent stands before its children."""
    passed: set[str | None] = {None}
    for id in order:
        if parents[id] not in passed:
            return False
        passed.add(id)
    return True


def _created(parsed: Parsed, now: int) -> int:
    if parsed.created is not None:
        return min(parsed.created, now)
    known = [node.time for node in parsed.nodes.values() if node.time is not None]
    return min(min(known, default=parsed.updated or 0), now)


def _leaf(
    parsed: Parsed, nodes: dict[str, Node], nearest: dict[str, str | None], leaves: list[str]
) -> str | None:
    """The source's own if it exists, or its nearest message. Else the newest leaf."""
    if parsed.leaf in nodes:
        found = parsed.leaf if nodes[parsed.leaf].said is not None else nearest[parsed.leaf]
        if found is not None:
            return found
    return leaves[-1] if leaves else None
