"""The built-in model: it repeats what was said, word by word. So a fresh checkout chats offline."""

from collections.abc import Generator, Sequence

from db.chat_messages import ChatMessage

from .client import Line, Options


def ask(history: Sequence[ChatMessage], options: Options, line: Line) -> Generator[str]:
    """The text of the newest message, piece by piece."""
    content = history[-1]["content"] if history else ""
    if not isinstance(content, str):
        content = " ".join(str(part.get("text", "")) for part in content)
    words = content.split(" ")
    yield from (word + " " for word in words[:-1])
    yield words[-1]
