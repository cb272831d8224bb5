"""A conversation as its writer knows it, and how another copy of it may differ."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32


class Text(NamedTuple):
    """A message without its text, which hundreds of followers would keep."""

    length: int
    checksum: int
    status: str

    @classmethod
    def of(cls, message: dict[str, Any]) -> "Text":
        content = message["content"]
        return cls(len(content), crc32(content.encode()), message["status"])

    def with_piece(self, delta: str) -> "Text":
        return Text(self.length + len(delta), crc32(delta.encode(), self.checksum), self.status)


Texts = dict[str, Text]  # by the ids of their messages, in order


@dataclass
class Conversation:
    id: str
    title: str | None
    is_archived: bool = False
    texts: Texts = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    changes: int = 0
    final_version: int | None = None  # when its writer is done with it
    sealed_at: float = 0
    is_abandoned: bool = False  # nobody knows what must be stored

    def seal(self, version: int) -> None:
        self.sealed_at = time.monotonic()
        self.final_version = version

    def differences(self, title: str | None, texts: Texts) -> Counter[str]:
        """How a copy differs from what was acknowledged."""
        found: Counter[str] = Counter()
        found["lost"] = len(self.texts.keys() - texts.keys())
        for id in texts.keys() - self.texts.keys():
            found["lost deletion" if id in self.deleted else "doubled"] += 1
        both = [id for id in self.texts if id in texts]
        found["half-written"] = sum(self.texts[id] != texts[id] for id in both)
        found["out of order"] = int(both != [id for id in texts if id in self.texts])
        found["lost title"] = int(title != self.title)
        return +found


def texts_of(messages: list[dict[str, Any]]) -> Texts:
    return {message["id"]: Text.of(message) for message in messages}
