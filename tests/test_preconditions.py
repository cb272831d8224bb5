"""Tests ETag, If-None-Match and If-Match on a conversation."""

import re
from collections.abc import Callable
from functools import partial

import pytest

from db import conversations, messages
from db.errors import StalePrecondition
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.conversations import (
    CONVERSATIONS,
    ConversationPatch,
    ConversationQuery,
    change_conversation,
    delete_conversation,
    get_conversation,
)
from handlers.http.caller import Caller
from handlers.http.preconditions import IfMatch, IfNoneMatch

from .support.clients import Api


def say(id: str, content: str) -> None:
    messages.append(EVERYTHING, id, [Draft("user", content)])


def tag(caller: Caller, id: str) -> str:
    return get_conversation(caller, id, ConversationQuery(), IfNoneMatch()).headers["ETag"]


def test_each_change_has_its_own_etag(anyone: Caller, conversation_id: str):
    tags = [tag(anyone, conversation_id)]
    for step in (
        lambda: say(conversation_id, "one"),
        lambda: conversations.change(EVERYTHING, conversation_id, title="Plans"),
        lambda: conversations.change(EVERYTHING, conversation_id, is_archived=True),
    ):
        step()
        tags.append(tag(anyone, conversation_id))
    assert len(set(tags)) == len(tags)
    assert all(re.fullmatch('"[!#-~]+"', each) for each in tags)


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "{},", "*"])
def test_an_unchanged_conversation_is_not_sent_again(
    api: Api, anyone: Caller, conversation_id: str, form: str
):
    seen = form.format(tag(anyone, conversation_id))
    answer = api.get(f"{CONVERSATIONS}/{conversation_id}", headers={"If-None-Match": seen})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == tag(anyone, conversation_id)


def test_a_changed_conversation_is_sent(anyone: Caller, conversation_id: str):
    seen = IfNoneMatch(if_none_match=tag(anyone, conversation_id))
    say(conversation_id, "one")
    reply = get_conversation(anyone, conversation_id, ConversationQuery(), seen)
    assert [message.content for message in reply.body.messages] == ["one"]


@pytest.mark.parametrize(
    "write",
    [
        partial(change_conversation, body=ConversationPatch(title="Plans")),
        delete_conversation,
    ],
    ids=["change", "delete"],
)
def test_a_write_with_a_stale_etag_is_refused(
    anyone: Caller, conversation_id: str, write: Callable[..., object]
):
    seen = IfMatch(if_match=tag(anyone, conversation_id))
    say(conversation_id, "meanwhile")
    before = conversations.find(EVERYTHING, conversation_id)
    with pytest.raises(StalePrecondition, match="get it again"):
        write(anyone, conversation_id, headers=seen)
    assert conversations.find(EVERYTHING, conversation_id) == before
    write(anyone, conversation_id, headers=IfMatch(if_match=tag(anyone, conversation_id)))
