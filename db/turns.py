"""Turns of a chat: a question, and the answer to it that is going to be written."""

from typing import Any, NamedTuple

from . import conversations, messages
from .engine.database import transaction
from .engine.prepared import prepared
from .errors import Invalid, MessageDeleted, MessageNotFound, StreamFinished
from .messages import Draft
from .models import COMPLETED, IN_PROGRESS, Message, MessageRow
from .scope import Scope

ASKING_ROLES = ("user", "tool")  # whose messages a model answers


class Begun(NamedTuple):
    """The ids of a turn's messages, and whether an earlier request began it."""

    question_id: str
    answer_id: str
    is_known: bool = False
    is_well: bool = False  # it is noted that its model did not fail


@transaction
def begin(scope: Scope, conversation_id: str, question: Draft) -> Begun:
    """Append a question, and open the answer to it.

    A question whose client id is known is answered already: then nothing is appended. Raises as
    `messages.append_once` does, and MessageDeleted if the answer has been deleted.
    """
    (row,), is_known = messages.append_once(scope, conversation_id, [question])
    if is_known:
        return Begun(row.id, _first_answer_to(row), is_known)
    return open_answer(scope, conversation_id, row.id)


@transaction
def begin_again(scope: Scope, conversation_id: str, question_id: str) -> Begun:
    """Open another answer to a question, beside those that it has.

    Raises ConversationNotFound, and Invalid if there is no such question.
    """
    conversations.lock(scope, conversation_id)  # or the question may end between two looks at it
    try:
        role = messages.find(scope, conversation_id, question_id).role
    except MessageNotFound:
        role = None
    if role not in ASKING_ROLES:
        raise Invalid(
            "parent_id must be a user's or a tool's message of this conversation, unless content "
            "is sent, too.",
            "parent_id",
        )
    return open_answer(scope, conversation_id, question_id)


@transaction
def finish_with_parts(
    scope: Scope,
    conversation_id: str,
    answer_id: str,
    length: int,
    parts: list[dict[str, Any]],
    status: str = COMPLETED,
) -> None:
    """End an answer that has so many code points with a list of parts, its text among them.

    Raises ConversationNotFound, MessageNotFound, and StreamFinished if it is not as it was left.
    """
    conversations.lock(scope, conversation_id)
    row = messages.find(scope, conversation_id, answer_id)
    if row.status != IN_PROGRESS or len(row.content) != length:
        raise StreamFinished(
            "The answer was ended or written by somebody else.",
            length=len(row.content),
            message_status=row.status,
        )
    messages.edit(scope, conversation_id, answer_id, content=parts, status=status)


@transaction
def open_answer(scope: Scope, conversation_id: str, question_id: str) -> Begun:
    """Open an answer to a message, beside those that it has."""
    draft = Draft("assistant", "", IN_PROGRESS, parent_id=question_id)
    (row,) = messages.append(scope, conversation_id, [draft])
    return Begun(question_id, row.id)


def newest_answer_to(scope: Scope, question: MessageRow) -> MessageRow | None:
    """The newest of the answers to a question, if it has any."""
    conversation_id, position = question.conversation_id, question.position
    beside = _newest_child(conversation_id, position, position).fetchone()
    behind = _behind(conversation_id, position).fetchone()
    ids = [beside[0]] if beside is not None else []
    if behind is not None and behind[1:] == ("assistant", None):
        ids.append(behind[0])
    return messages.find(scope, conversation_id, max(ids)) if ids else None


def _first_answer_to(question: MessageRow) -> str:
    """The message that was opened together with a question, which stands behind it."""
    found = _at(question.conversation_id, question.position + 1).fetchone()
    if found is not None:
        id, role, parent = found
        if role == "assistant" and parent in (None, question.position):
            return str(id)
    raise MessageDeleted(
        "The message with this client_id has no answer, or it has been deleted: send its id as "
        "parent_id, without content, to have one."
    )


@prepared
def _at(conversation_id: Any, position: Any) -> Any:
    """The message at a position."""
    return Message.select(Message.id, Message.role, Message.parent).where(
        Message.conversation_id == conversation_id, Message.position == position
    )


@prepared
def _newest_child(conversation_id: Any, parent: Any, position: Any) -> Any:
    """The newest answer among the messages that name their parent by its position."""
    return (
        Message.select(Message.id)
        .where(
            Message.conversation_id == conversation_id,
            Message.position > position,
            Message.parent.is_null(False),
            Message.parent == parent,
            Message.role == "assistant",
        )
        .order_by(Message.position.desc())
        .limit(1)
    )


@prepared
def _behind(conversation_id: Any, position: Any) -> Any:
    """The message that comes next by position."""
    return (
        Message.select(Message.id, Message.role, Message.parent)
        .where(Message.conversation_id == conversation_id, Message.position > position)
        .order_by(Message.position)
        .limit(1)
    )
