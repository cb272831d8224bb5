"""Which format a file has, by what is in it and not by its name, and where conversations begin."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from .formats import (
    chatgpt,
    claude,
    confab,
    finetune,
    grok,
    librechat,
    llamacpp,
    openai,
    openwebui,
    sharegpt,
    uimessage,
)
from .json_values import Reader, Value, check
from .parsed import Format, Notes, Object, Unreadable, as_object
from .sources import Source
from .values import cleaned

FORMATS: tuple[Format, ...] = tuple(
    module.FORMAT
    for module in (
        *(chatgpt, claude, openwebui, librechat, grok, confab, openai, llamacpp),
        *(uimessage, finetune, sharegpt),
    )
)
# What is known and not read, with the reason.
NOT_READ = {
    "chunkedPrompt": "AI Studio's prompts are not read",
    "steps": "Chainlit's threads are not read",
    "header": "Google's activities are single prompts and no conversations",
}
MAX_ID_LENGTH = 255
FIRST_VALUES = 10  # looked at, since `null` may stand before the first conversation


class Group(NamedTuple):
    """The values of one conversation, and the hash of their JSON as it stands in the file."""

    values: list[Any]
    id: str
    sha256: str
    characters: int


def recognise(source: Source, notes: Notes) -> Format | None:
    """The format of a file, after all of it was looked through. None if it is none that is known.

    Raises Unreadable if it is damaged, or known and not read.
    """
    with source.open() as file:
        check(file)
    with source.open() as file:
        for _, value in zip(range(FIRST_VALUES), Reader(file, notes.counts).values(), strict=False):
            if isinstance(value.value, dict):
                return _format_of(value.value)
    return None


def _format_of(value: Object) -> Format | None:
    for format in FORMATS:
        if format.matches(value):
            return format
    for name, reason in NOT_READ.items():
        if name in value:
            raise Unreadable(reason)
    return None


def groups(format: Format, values: Iterable[Value], notes: Notes) -> Iterator[Group | None]:
    """The values of each conversation together. None for a `null` among the conversations."""
    seen: dict[str, int] = {}  # of conversations without an id, how often each occurred
    gathered: list[Value] = []
    for value in values:
        begins = format.begins is None or format.begins(value.value)
        if begins and gathered:
            yield _group(format, gathered, seen, notes)
            gathered = []
        if begins and value.value is None:
            yield None
        elif format.begins is None:
            yield _group(format, [value], seen, notes)
        else:
            gathered.append(value)
    if gathered:
        yield _group(format, gathered, seen, notes)


def _group(format: Format, values: list[Value], seen: dict[str, int], notes: Notes) -> Group:
    digest = sha256()
    for value in values:
        digest.update(value.text.encode(errors="surrogatepass"))
    text = digest.hexdigest()
    clean = [cleaned(it.value, it.text, notes.counts) for it in values]
    id = format.id_of(as_object(clean[0]))
    if id is None:
        ordinal = seen[text] = seen.get(text, 0) + 1
        id = f"{text}:{ordinal}"
    elif len(id) > MAX_ID_LENGTH:  # it is part of a key
        id = sha256(id.encode()).hexdigest()
    if notes.keeps_hidden:  # it is read otherwise, and has the same id
        digest.update(b"with what is hidden")
    return Group(clean, id, digest.hexdigest(), sum(len(it.text) for it in values))
