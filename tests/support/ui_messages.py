"""What the AI SDK sends and reads: its messages, and the parts of a stream."""

import json
from typing import Any


def ui(id: str, text: str, role: str = "user") -> dict[str, Any]:
    """A UI message of one text."""
    return {"id": id, "role": role, "parts": [{"type": "text", "text": text}]}


def text_in(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def parts_of(body: bytes, is_whole: bool = True) -> list[dict[str, Any]]:
    """The parts in a body, as `parseJsonEventStream` reads them. A whole one ends with [DONE]."""
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    data = [block for block in blocks if not block.startswith(":")]
    assert all(each.startswith("data: ") and "\n" not in each for each in data)
    found = [each.removeprefix("data: ") for each in data]
    if is_whole:
        assert found.pop() == "[DONE]"
    return [json.loads(each) for each in found]
