"""Export: one conversation, or all from one snapshot, one at a time in memory."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

from peewee import fn

from .. import messages, transcripts
from ..engine.database import database, snapshot
from ..messages import ALL
from ..models import (
    CONVERSATION_COLUMNS,
    IS_KEPT,
    Conversation,
    ConversationRow,
    MessageRow,
)
from ..scope import Scope
from .arrivals import STRANGE
from .formats import chatgpt, confab, finetune, markdown, openai, openwebui


class ExportFormat(NamedTuple):
    """How conversations are written."""

    extension: str
    media_type: str
    write: Callable[[ConversationRow, Sequence[MessageRow]], str]
    is_line: bool = False  # it has one branch, the active one
    # What stands before, between and after the conversations.
    begin: str = ""
    between: str = ""
    end: str = ""


class Exported(NamedTuple):
    """How many conversations were written, and which ones cannot be, and why."""

    written: int
    failed: list[str]


def _lines(objects: Iterable[Any]) -> str:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)


def _array(write: Callable[[ConversationRow, Sequence[MessageRow]], Any]) -> dict[str, Any]:
    """The elements of a JSON array, each on a line."""
    return {
        "extension": "json",
        "media_type": "application/json",
        "write": lambda row, rows: json.dumps(write(row, rows), ensure_ascii=False),
        "begin": "[\n",
        "between": ",\n",
        "end": "\n]\n",
    }


LINES = "application/x-ndjson"
FORMATS = {
    "jsonl": ExportFormat("jsonl", LINES, lambda row, rows: _lines(confab.write(row, rows))),
    "openai": ExportFormat("jsonl", LINES, lambda row, rows: _lines(openai.write(row, rows)), True),
    "chatgpt": ExportFormat(**_array(chatgpt.write)),
    "openwebui": ExportFormat(**_array(openwebui.write)),
    "finetune": ExportFormat("jsonl", LINES, lambda row, rows: _lines(finetune.write(rows)), True),
    "markdown": ExportFormat("md", "text/markdown", markdown.write, True, between="\n---\n\n"),
}


def export_one(scope: Scope, conversation_id: str, format: str) -> tuple[ConversationRow, str]:
    """A conversation, and the text of its export. Raises ConversationNotFound."""
    writer = FORMATS[format]
    branch = None if writer.is_line else ALL
    row, rows = transcripts.read(scope, conversation_id, branch=branch)
    return row, f"{writer.begin}{writer.write(row, rows)}{writer.end}"


@snapshot
def export_all(
    file: IO[str],
    format: str,
    scope: Scope,
    only_active: bool = False,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Exported:
    """Write all conversations that a scope covers, but what is in the trash.

    `progress` is called with the number of those that are written, and how many there are.
    """
    writer = FORMATS[format]
    conditions = [IS_KEPT]
    if scope.project_id is not None:
        conditions.append(Conversation.project_id == scope.project_id)
    if scope.user_id is not None:
        conditions.append(Conversation.user_id == scope.user_id)
    total = Conversation.select(fn.COUNT(1)).where(*conditions).scalar()
    file.write(writer.begin)
    written = 0
    failed: list[str] = []
    for row in _conversations(conditions):
        try:
            text = writer.write(row, _messages(row, writer.is_line or only_active))
        except STRANGE as error:
            failed.append(f"{row.id} cannot be written: {error!r}")
            continue
        file.write(f"{writer.between}{text}" if written else text)
        written += 1
        progress(written, total)
    file.write(writer.end)
    return Exported(written, failed)


def _conversations(conditions: list[Any]) -> Iterator[ConversationRow]:
    query = (
        Conversation.select(*CONVERSATION_COLUMNS)
        .where(*conditions)
        .order_by(Conversation.project_id, Conversation.id)
    )
    return map(ConversationRow.decoded, database.obj.stream(query))


def _messages(row: ConversationRow, only_active: bool) -> list[MessageRow]:
    if row.last_message_id is None:
        return []
    branch = row.last_message_id if only_active and row.is_branched else ALL
    return messages.all_on(row, branch, settles=False)
