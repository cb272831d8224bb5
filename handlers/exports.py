"""Exports: one conversation as a file."""

import re
from typing import Any, Literal
from urllib.parse import quote

from chalice.app import Blueprint
from pydantic import Field

from .conversations import CONVERSATIONS
from .http.caller import AnyCaller
from .http.endpoint import ANY, JSON, SCAN, Reply, endpoint
from .http.types import Strict, Uuid

routes = Blueprint(__name__)

MARKDOWN, LINES = "text/markdown", "application/x-ndjson"
MAX_NAME_LENGTH = 100
UNTITLED = "conversation"
# What file systems, shells or headers may take for something else than a part of a name.
UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u2028-\u202e\u2066-\u2069]+')


class ExportQuery(Strict):
    format: Literal["markdown", "jsonl", "openai", "chatgpt"] = Field(
        default="markdown",
        description="`markdown` and `openai` have the active branch, the others all messages.",
    )


@routes.route(CONVERSATIONS + "/{conversation_id}/export", methods=["GET"], content_types=ANY)
@endpoint(media_types=(MARKDOWN, LINES, JSON), sends=("Content-Disposition",), waits_for=SCAN)
def export_conversation(
    caller: AnyCaller, conversation_id: Uuid, query: ExportQuery
) -> Reply[list[dict[str, Any]]]:
    """Export a conversation as a file: Markdown, JSON lines, OpenAI's items, or ChatGPT's JSON.

    `python -m db import` reads the last three back.
    """
    # Cold start: 29 ms, and few processes of a function export something.
    from db.transfer.exporting import FORMATS, export_one

    conversation, text = export_one(caller.scope, conversation_id, query.format)
    writer = FORMATS[query.format]
    return Reply(
        text,  # type: ignore[arg-type]  # encoded already
        {"Content-Disposition": attachment(conversation.title, writer.extension)},
        media_type=writer.media_type,
        is_encoded=True,
    )


def attachment(title: str | None, extension: str) -> str:
    """A Content-Disposition with a file name made of a title (RFC 6266).

    `filename` has ASCII only, for clients that do not know `filename*`.
    """
    name = UNSAFE.sub(" ", title or "")[:MAX_NAME_LENGTH].strip(" .") or UNTITLED
    plain = re.sub(r"[^A-Za-z0-9 ._()-]+", "_", name).strip(" ._") or UNTITLED
    encoded = quote(f"{name}.{extension}", safe="", errors="replace")
    return f"attachment; filename=\"{plain}.{extension}\"; filename*=UTF-8''{encoded}"
