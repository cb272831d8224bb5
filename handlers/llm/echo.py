"""The built-in model: it repeats what was said, word by word. So a fresh checkout chats offline."""

from collections.abc import Iterator, Sequence

from db.models import MessageRow


def ask(history: Sequence[MessageRow]) -> Iterator[str]:
    """The text of the newest message, piece by piece."""
    content = history[-1].content
    if not isinstance(content, str):
        content = " ".join(str(part.get("text", "")) for part in content)
    words = content.split(" ")
    yield from (word + " " for word in words[:-1])
    yield words[-1]
