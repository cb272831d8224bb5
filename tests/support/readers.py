"""A reader of `/events` that knows a conversation only from its events."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple


class ServerSentEvent(NamedTuple):
    id: int
    event: str
    data: Any


def dispatched(body: bytes) -> Iterator[ServerSentEvent]:
    """Yield the events that a browser's EventSource dispatches for a body.

    The body may be cut at any byte. An event and its id count when the blank line after the event
    has arrived (HTML standard, 9.2.6).
    """
    fields: dict[str, str] = {}
    for line in re.split("\r\n|\r|\n", body.decode(errors="replace"))[:-1]:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield ServerSentEvent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


class Reader:
    """Applies events to a copy of the conversation. Fails if one is repeated or missing."""

    def __init__(self, last_event_id: int = 0) -> None:
        self.last_event_id = last_event_id
        self.messages: dict[str, dict[str, Any]] = {}
        self.conversation: dict[str, Any] | None = None
        self.leaf_id: str | None = None
        self.newest_id = ""
        self.told: list[ServerSentEvent] = []

    def receive(self, body: bytes) -> list[ServerSentEvent]:
        """Apply the events of an answer that may be cut, and return those that arrived whole."""
        events = list(dispatched(body))
        for event in events:
            assert event.id > self.last_event_id, "told twice"
            getattr(self, f"_{event.event}")(event.data)
            self.last_event_id = event.id
        self.told += events
        return events

    @property
    def texts(self) -> dict[str, tuple[Any, str]]:
        """The content and status of each message, by its id."""
        return {id: (row["content"], row["status"]) for id, row in self.messages.items()}

    @property
    def parents(self) -> dict[str, str | None]:
        """The parent of each message, by its id."""
        return {id: row["parent_id"] for id, row in self.messages.items()}

    def _message(self, message: dict[str, Any]) -> None:
        self.messages[message["id"]] = message
        if message["id"] > self.newest_id:
            self.leaf_id = self.newest_id = message["id"]

    def _delta(self, data: dict[str, Any]) -> None:
        message = self.messages[data["message_id"]]
        assert message["status"] == "in_progress"
        assert data["offset"] == len(message["content"]), "a piece is missing, or came twice"
        assert data["delta"]
        message["content"] += data["delta"]

    def _done(self, data: dict[str, Any]) -> None:
        message = self.messages[data["message_id"]]
        assert data["length"] == len(message["content"])
        assert message["status"] == "in_progress"
        message["status"] = data["status"]

    def _deleted(self, data: dict[str, Any]) -> None:
        id, parent_id = data["message_id"], data["parent_id"]
        self.messages.pop(id, None)
        for message in self.messages.values():
            if message["parent_id"] == id:
                message["parent_id"] = parent_id
        if self.leaf_id == id:
            self.leaf_id = parent_id or max(self.messages, default=None)

    def _conversation(self, data: dict[str, Any]) -> None:
        self.conversation = data
        self.leaf_id = data["last_message_id"]
