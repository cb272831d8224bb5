"""Submissions: a client tells where it stands in a chat, by its own names, and is to be answered.

It does not say what is to be done. That follows from what is stored, in one transaction: so copies
of a submission, also at the same moment, find what the first one did.
"""

from collections.abc import Sequence
from typing import NamedTuple

from . import conversations, messages, streams, turns
from .engine.database import transaction
from .errors import Invalid, KeyTaken, MessageNotFound
from .messages import Draft
from .models import IN_PROGRESS, INCOMPLETE, MessageRow
from .scope import Scope
from .streams import settled
from .turns import ASKING_ROLES, Begun


class Submission(NamedTuple):
    """What a client sends. Each draft has a client id, which may also be a message's id."""

    drafts: Sequence[Draft]  # its messages, oldest first. Of a chat that is stored, the last counts
    is_again: bool = False  # it wants another answer
    name: str | None = None  # of the message that it edits, or whose answer it wants again
    is_alone: bool = False  # the last message came without those before it


class Taken(NamedTuple):
    """Where a submission is answered."""

    conversation_id: str
    turn: Begun


@settled
@transaction
def take(scope: Scope, name: str, project_id: str | None, sent: Submission) -> Taken:
    """Store what is new in a submission, and open the answer to it unless it has one.

    The conversation that has the name is begun in the project if there is none.
    Raises Invalid, MessageDeleted, ClientIdReused.
    """
    conversation_id = conversations.named(scope, name)
    if conversation_id is None:
        if project_id is None:
            raise Invalid("Send a project_id, or a key of one project.", "project_id")
        if not sent.drafts:
            raise _nothing_to_answer()
        _refuse_unless_question(sent.drafts[-1])
        try:
            conversation_id = conversations.start(scope, project_id, key=name).id
        except KeyTaken as taken:  # by a copy, since the name was looked for
            conversation_id = taken.conversation_id
        else:
            return _append(scope, conversation_id, sent.drafts)
    conversations.lock(scope, conversation_id)
    if not sent.drafts:
        if not sent.is_again:
            raise _nothing_to_answer()
        return _answer_again(scope, _question_before(scope, conversation_id, sent.name), sent.name)
    last = sent.drafts[-1]
    try:
        question = messages.named(scope, conversation_id, str(last.client_id))
    except MessageNotFound:
        _refuse_unless_question(last)
        streams.stop(scope, conversation_id)
        return _append(scope, conversation_id, [last])
    if sent.is_again:
        return _answer_again(scope, question, sent.name)
    return _repeat_or_edit(scope, question, sent)


def _repeat_or_edit(scope: Scope, question: MessageRow, sent: Submission) -> Taken:
    """The answer to a question that is stored, or to another one that is sent in its place.

    An edit that is sent once more finds what the first one stored.
    """
    last, conversation_id = sent.drafts[-1], question.conversation_id
    _refuse_unless_question(last)
    if question.role not in ASKING_ROLES:
        raise Invalid("The last message has the id of one that is no question.", "messages")
    answer = turns.newest_answer_to(scope, question)
    leaf_id = conversations.find(scope, conversation_id).last_message_id
    is_newest = leaf_id in (question.id, answer and answer.id)
    is_named = sent.name == last.client_id
    is_other = not messages.is_as_sent(question, last)
    if (is_other and (is_named or sent.is_alone)) or (is_named and not is_newest):
        streams.stop(scope, conversation_id)
        edited = messages.append_beside(scope, conversation_id, question.id, last)
        return Taken(conversation_id, turns.open_answer(scope, conversation_id, edited.id))
    if answer is None or (answer.status == INCOMPLETE and answer.id == leaf_id):
        return _answer_anew(scope, question)
    return Taken(conversation_id, Begun(question.id, answer.id, is_known=True))


def _append(scope: Scope, conversation_id: str, drafts: Sequence[Draft]) -> Taken:
    """Store messages, of which the last is a question, and open the answer to it."""
    rows = messages.append(scope, conversation_id, drafts)
    return Taken(conversation_id, turns.open_answer(scope, conversation_id, rows[-1].id))


def _answer_again(scope: Scope, question: MessageRow, replaced: str | None) -> Taken:
    """Open another answer to a question.

    One in progress is what a copy of this submission began, unless the client names it: then it
    wants another one instead.
    """
    if question.role not in ASKING_ROLES:
        raise Invalid("Only a question can be answered again: send it as the last one.", "messages")
    answer = turns.newest_answer_to(scope, question)
    if answer is not None and answer.status == IN_PROGRESS and answer.id != replaced:
        return Taken(question.conversation_id, Begun(question.id, answer.id, is_known=True))
    return _answer_anew(scope, question)


def _answer_anew(scope: Scope, question: MessageRow) -> Taken:
    streams.stop(scope, question.conversation_id)
    begun = turns.open_answer(scope, question.conversation_id, question.id)
    return Taken(question.conversation_id, begun)


def _question_before(scope: Scope, conversation_id: str, name: str | None) -> MessageRow:
    """The newest question on the active branch, or the one that a named message is or follows."""
    leaf_id = None
    if name is not None:
        try:
            leaf_id = messages.named(scope, conversation_id, name).id
        except MessageNotFound:
            raise Invalid("messageId must name a message of this chat.", "messageId") from None
    path = messages.all_on(conversations.find(scope, conversation_id), leaf_id)
    for row in reversed(path):
        if row.role == "user":
            return row
    raise _nothing_to_answer()


def _refuse_unless_question(last: Draft) -> None:
    if last.role != "user":
        raise Invalid("The last message must be a user's: no other one is answered.", "messages")


def _nothing_to_answer() -> Invalid:
    return Invalid("There is no question: send messages, or a message.", "messages")
