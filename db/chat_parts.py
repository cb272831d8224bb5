"""Parts of messages, and what each one is for OpenAI's `/chat/completions`.

Confab stores parts as they come, from several APIs. These have a meaning for a model:

| part | is told as |
| --- | --- |
| `text`, `input_text`, `output_text` | `text` |
| `image_url`, `input_image`, `file` with the `mediaType` of an image | `image_url` |
| `input_audio`, `file`, `input_file` | `input_audio`, `file` |
| `tool_call`, `function_call`, `tool_use` | one of the `tool_calls` of an assistant's message |
| `tool_result`, `function_call_output` | a message of the role `tool` |

Only a user's message may have other parts than text, by the rules of that API.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .models import json_of

Part = Mapping[str, Any]

TEXTS = ("text", "input_text", "output_text")
CALL_IDS = ("call_id", "tool_use_id", "tool_call_id")
FILE_FIELDS = ("filename", "file_data", "file_id")


class Call(NamedTuple):
    """A call of a tool. Its arguments are JSON."""

    id: str
    name: str
    arguments: str


class Result(NamedTuple):
    """What a tool answered to a call."""

    call_id: str
    text: str


def as_sent(part: Any, role: str) -> Part | None:
    """A part as it is sent in a message of that role, or None if it is left out."""
    match part:
        case {"type": kind, "text": str(text)} if kind in TEXTS and text:
            return {"type": "text", "text": text}
        case {"type": _} if role == "user":
            return _image_in(part) or _file_in(part)
    return None


def _image_in(part: Part) -> Part | None:
    match part:
        case {"type": "image_url" | "input_image", "image_url": str(url)}:
            detail = part.get("detail")
            extra = {"detail": detail} if isinstance(detail, str) else {}
            return {"type": "image_url", "image_url": {"url": url, **extra}}
        case {"type": "file", "mediaType": str(kind), "url": str(url)} if kind.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "image_url", "image_url": {"url": str()}}:
            return part
    return None


def _file_in(part: Part) -> Part | None:
    match part:
        case {"type": "input_audio" | "file" as kind} if isinstance(part.get(kind), dict):
            return part
        case {"type": "input_file"}:
            file = {name: part[name] for name in FILE_FIELDS if part.get(name)}
            return {"type": "file", "file": file} if file else None
    return None


def call_in(part: Any) -> Call | None:
    """The call that a part is. It may also be one of OpenAI's `tool_calls`."""
    match part:
        case {"type": "function_call", "call_id": str(id), "name": str(name)}:
            arguments = part.get("arguments")
        case {"type": "tool_call", "id": str(id), "name": str(name)}:
            arguments = part.get("arguments")
        case {"type": "tool_use", "id": str(id), "name": str(name)}:
            arguments = part.get("input")
        case {"id": str(id), "function": {"name": str(name), **fields}}:
            arguments = fields.get("arguments")
        case _:
            return None
    if not id or not name:
        return None
    if not isinstance(arguments, str):
        arguments = json_of({} if arguments is None else arguments)
    return Call(id, name, arguments)


def result_in(part: Any) -> Result | None:
    """The result that a part is."""
    match part:
        case {"type": "tool_result" | "function_call_output"}:
            for name in CALL_IDS:
                if isinstance(id := part.get(name), str):
                    return Result(id, text_of(part.get("output", part.get("content"))))
    return None


def text_of(output: Any) -> str:
    """A tool's output as text: as it is, the text of its parts, or JSON."""
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        text = text_in(output)
        if text or not output:
            return text
    return json_of(output) or ""


def text_in(parts: list[Any]) -> str:
    """The text of those parts that are text."""
    return " ".join(part["text"] for each in parts if (part := as_sent(each, "assistant")))
