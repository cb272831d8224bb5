"""Helpers for tests of `/api/v1/chat`."""

from collections.abc import Callable
from typing import Any

from db import messages
from db.engine.database import database
from db.scope import EVERYTHING

from .clients import Answer, assert_problem

# `chat("Hi")` posts "Hi" to `/api/v1/chat` and returns the answer.
Chat = Callable[..., Answer]


def assert_failed(answer: Answer, conversation_id: str, part: str) -> dict[str, Any]:
    """Assert a 502, and that both messages are stored with the part that arrived."""
    problem = assert_problem(answer, 502, "model-failed")
    user, assistant = messages.page_for(EVERYTHING, conversation_id).rows
    database.close()
    assert (user.content, user.status) == ("Hi", "completed")
    assert (assistant.content, assistant.status) == (part, "incomplete")
    assert problem["user_message_id"] == user.id
    assert problem["assistant_message_id"] == assistant.id
    return problem
