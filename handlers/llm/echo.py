"""The built-in model: it repeats what was said, word by word. So a fresh checkout chats offline."""

from collections.abc import Generator, Sequence
from math import ceil

from db.chat_messages import ChatMessage

from .client import Line, Options

MAX_PIECES = 500


def ask(history: Sequence[ChatMessage], options: Options, line: Line) -> Generator[str]:
    """The text of the newest message, piece by piece."""
    content = history[-1]["content"] if history else ""
    if not isinstance(content, str):
        content = " ".join(str(part.get("text", "")) for part in content)
    words = content.split(" ")
    together = ceil(len(words) / MAX_PIECES)  # each piece is stored by a commit of its own
    for start in range(0, len(words), together):
        piece = " ".join(words[start : start + together])
        yield piece + " " * (start + together < len(words))
