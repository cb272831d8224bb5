"""Followers, as a browser's EventSource: they ask again after `retry`, from the last id."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from typing import Any

from .client import Client, Cut
from .model import Conversation, Text, Texts
from .tally import Tally
from .writers import CONVERSATIONS, OPEN_CONVERSATIONS, Writer

WAIT_SECONDS = 20
RETRY_SECONDS = 0.5  # the `retry` of the answers
PATIENCE_SECONDS = 150  # after a conversation's last change, until something counts as missing


class Follower:
    """Follows a writer's conversations to their ends, one after another."""

    def __init__(self, number: int, writers: list[Writer], port: int, tally: Tally) -> None:
        self.writer = writers[number % len(writers)]
        self.index = number // len(writers) % OPEN_CONVERSATIONS
        self.tally = tally
        self._client = Client(port)

    async def run(self, stopping: asyncio.Event) -> None:
        """Go on until `stopping`, and then once more through the last conversation."""
        await asyncio.sleep(RETRY_SECONDS * 10 * random.random())
        while True:
            is_last = stopping.is_set()
            if self.index < len(self.writer.open):
                await self._follow(self.writer.open[self.index])
                if is_last:
                    self._client.close()
                    return
            else:
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, conversation: Conversation) -> None:
        copy = Copy(self.tally, conversation.id)
        path = f"{CONVERSATIONS}/{conversation.id}/events?wait="
        while True:
            final = conversation.final_version
            if conversation.is_abandoned:
                return
            if final is not None:
                if copy.last_event_id >= final:
                    break
                if time.monotonic() > conversation.sealed_at + PATIENCE_SECONDS:
                    self.tally.note("event missing", f"the last ones of {conversation.id}")
                    break
            # Not all at once, where a restart has cut all of them off.
            await asyncio.sleep(RETRY_SECONDS * (0.8 + 0.4 * random.random()))
            headers = {"Last-Event-ID": str(copy.last_event_id)}
            try:
                answer = await self._client.send(
                    "GET", path + str(0 if final else WAIT_SECONDS), headers=headers
                )
            except Cut as cut:
                copy.receive(cut.received)
                continue
            if answer.status == 200:
                copy.receive(answer.body)
            elif answer.status != 503:
                self.tally.note("unexpected answer", f"{path}: {answer.status} {answer.body!r}")
        # An edited message is told where it was edited. Its id says where it stands.
        texts = dict(sorted(copy.texts.items()))
        different = conversation.differences(copy.title or conversation.title, texts)
        for kind, count in different.items():
            self.tally.note(f"follower: {kind}", f"{count} in {conversation.id}")
        self.tally.compared += 1


class Copy:
    """A conversation, known only from its events."""

    def __init__(self, tally: Tally, conversation_id: str) -> None:
        self.last_event_id = 0
        self.title: str | None = None
        self.texts: Texts = {}
        self._tally, self._id = tally, conversation_id

    def receive(self, body: bytes) -> None:
        """Apply the events that arrived whole."""
        for position, kind, data in dispatched(body):
            if position <= self.last_event_id:
                self._note("event doubled", f"{kind} {position}")
                continue
            getattr(self, f"_{kind}")(data)
            self.last_event_id = position
            self._tally.events += 1

    def _note(self, kind: str, what: str) -> None:
        self._tally.note(kind, f"{what} of {self._id} after {self.last_event_id}")

    def _message(self, message: dict[str, Any]) -> None:
        text = Text.of(message)
        if self.texts.get(message["id"]) == text:
            self._note("event doubled", f"message {message['id']}")
        self.texts[message["id"]] = text

    def _delta(self, data: dict[str, Any]) -> None:
        text = self.texts.get(data["message_id"])
        if text is None or data["offset"] > text.length:
            self._note("event missing", f"before the delta {data}")
        elif data["offset"] < text.length:
            self._note("event doubled", f"delta {data}")
        else:
            self.texts[data["message_id"]] = text.with_piece(data["delta"])

    def _done(self, data: dict[str, Any]) -> None:
        text = self.texts.get(data["message_id"])
        if text is None or text.length != data["length"]:
            self._note("event missing", f"before done {data}")
        elif text.status != "in_progress":
            self._note("event doubled", f"done {data}")
        else:
            self.texts[data["message_id"]] = text._replace(status=data["status"])

    def _deleted(self, data: dict[str, Any]) -> None:
        self.texts.pop(data["message_id"], None)

    def _conversation(self, data: dict[str, Any]) -> None:
        self.title = data["title"]


def dispatched(body: bytes) -> Iterator[tuple[int, str, Any]]:
    """The id, kind and data of each event. The body may be cut anywhere."""
    for block in body.split(b"\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        if "data" in fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
