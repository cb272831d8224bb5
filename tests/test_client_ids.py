"""Tests `client_id`: a message that is sent again is stored once, for ever."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from db import conversations, messages, streams, transcripts
from db.engine.database import database
from db.errors import ClientIdReused, Invalid, MessageDeleted
from db.messages import Draft
from db.models import Event, Message, MessageRow, Stream
from db.scope import EVERYTHING
from handlers.http.caller import Caller
from handlers.messages import MessageCreate, OneOrBatch, append_messages

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import PROJECT, dump

MESSAGES = "/api/v1/conversations/{}/messages"
HELLO = Draft("user", "Hello", client_id="c")

# The verbs behave alike on both engines.
on_both = pytest.mark.usefixtures("either_store")


def send(conversation_id: str, *drafts: Draft) -> tuple[list[MessageRow], bool]:
    return messages.append_once(EVERYTHING, conversation_id, drafts)


def say(conversation_id: str, *contents: str) -> list[str]:
    rows, _ = send(conversation_id, *(Draft("user", content) for content in contents))
    return [row.id for row in rows]


def batch_of(*names: str) -> list[Draft]:
    return [Draft("user", f"Content of {name}", client_id=name) for name in names]


def assert_stored_before(conversation_id: str, drafts: Sequence[Draft], ids: list[str]) -> None:
    """Assert that nothing is written when these are sent, and that these messages are answered."""
    before = dump()
    rows, is_known = send(conversation_id, *drafts)
    assert ([row.id for row in rows], is_known) == (ids, True)
    assert dump() == before


def assert_refused(conversation_id: str, drafts: Sequence[Draft], error: type[Exception]) -> Any:
    before = dump()
    with pytest.raises(error) as refused:
        send(conversation_id, *drafts)
    assert dump() == before
    return refused.value


def test_a_message_that_is_sent_again_is_answered_as_it_is_stored(api: Api, conversation_id: str):
    path = MESSAGES.format(conversation_id)
    body = {"role": "user", "content": "Größe 👋", "client_id": "a5f0-1"}
    first = api.post(path, body)
    assert (first.status, first.json["client_id"]) == (201, "a5f0-1")
    assert "idempotent-replayed" not in first.headers
    before = dump()
    second = api.post(path, body)
    assert (second.status, second.json) == (200, first.json)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert dump() == before


def test_a_batch_that_is_sent_again_is_answered_as_it_is_stored(api: Api, conversation_id: str):
    path = MESSAGES.format(conversation_id)
    body = [{"role": "user", "content": "x", "client_id": str(number)} for number in range(100)]
    first, second = api.post(path, body), api.post(path, body)
    assert (first.status, second.status) == (201, 200)
    assert second.json == first.json
    assert second.headers["idempotent-replayed"] == "true"
    assert len(api.get(path).json["messages"]) == 100


def test_another_message_under_a_client_id_is_a_409_that_names_the_first(
    api: Api, conversation_id: str
):
    path = MESSAGES.format(conversation_id)
    body = {"role": "user", "content": "Hello", "client_id": "c"}
    first = api.post(path, body).json
    answer = api.post(path, {**body, "content": "Bye"})
    assert assert_problem(answer, 409, "client-id-reused")["message_id"] == first["id"]


@on_both
@pytest.mark.parametrize(
    "other",
    [
        {"role": "system"},
        {"content": "Hello "},
        {"content": [{"type": "text", "text": "Hello"}]},
        {"parent_id": None},
    ],
    ids=str,
)
def test_role_content_and_parent_are_compared(other: dict[str, Any]):
    conversation_id = conversations.start(EVERYTHING, PROJECT).id
    say(conversation_id, "before")
    send(conversation_id, HELLO)
    assert_refused(conversation_id, [HELLO._replace(**other)], ClientIdReused)


@pytest.mark.parametrize("other", [{"metadata": {"n": 1}}, {"status": "incomplete"}], ids=str)
def test_metadata_and_status_are_not_compared(conversation_id: str, other: dict[str, Any]):
    (row,), _ = send(conversation_id, HELLO)
    assert_stored_before(conversation_id, [HELLO._replace(**other)], [row.id])


def test_parts_are_compared_with_parts_and_not_with_their_text(conversation_id: str):
    parts = Draft("user", [{"type": "text", "text": "Hello"}], client_id="c")
    (row,), _ = send(conversation_id, parts)
    assert_stored_before(conversation_id, [parts], [row.id])
    text = parts._replace(content='[{"type":"text","text":"Hello"}]')
    assert_refused(conversation_id, [text], ClientIdReused)


@on_both
def test_what_was_sent_is_compared_and_not_what_an_edit_made_of_it():
    conversation_id = conversations.start(EVERYTHING, PROJECT).id
    (row,), _ = send(conversation_id, HELLO)
    messages.edit(EVERYTHING, conversation_id, row.id, content="Edited", metadata={"n": 1})
    assert_stored_before(conversation_id, [HELLO], [row.id])
    (again,), _ = send(conversation_id, HELLO)
    assert (again.content, again.metadata) == ("Edited", {"n": 1})
    assert_refused(conversation_id, [HELLO._replace(content="Edited")], ClientIdReused)


def test_no_parent_is_the_same_wherever_the_conversation_has_gone_since(conversation_id: str):
    say(conversation_id, "before")
    (row,), _ = send(conversation_id, HELLO)
    say(conversation_id, "after")
    assert_stored_before(conversation_id, [HELLO], [row.id])


@pytest.mark.parametrize(
    ("first", "again", "is_same"),
    [
        ("none", "none", True),
        ("none", "its parent", True),  # the parent that is stored
        ("none", "null", False),
        ("none", "another", False),
        ("its parent", "its parent", True),
        ("its parent", "none", False),
        ("its parent", "null", False),
        ("null", "null", True),
        ("null", "none", False),
        ("null", "its parent", False),
    ],
)
def test_a_parent_is_compared_as_it_was_sent_or_with_the_one_that_is_stored(
    conversation_id: str, first: str, again: str, is_same: bool
):
    another, its_parent = say(conversation_id, "a", "b")
    parents = {"its parent": its_parent, "another": another, "null": None}
    drafts = [
        HELLO._replace(parent_id=parents[which]) if which in parents else HELLO
        for which in (first, again)
    ]
    (row,), _ = send(conversation_id, drafts[0])
    say(conversation_id, "after")
    if is_same:
        assert_stored_before(conversation_id, drafts[1:], [row.id])
    else:
        assert_refused(conversation_id, drafts[1:], ClientIdReused)


def test_a_message_is_the_same_when_its_parent_has_been_deleted_since(conversation_id: str):
    root, parent = say(conversation_id, "root", "parent")
    draft = HELLO._replace(parent_id=parent)
    (row,), _ = send(conversation_id, draft)
    messages.remove(EVERYTHING, conversation_id, parent)
    for parent_id in (parent, root):  # as it was sent, and as it is stored now
        assert_stored_before(conversation_id, [draft._replace(parent_id=parent_id)], [row.id])
    say(conversation_id, "after")
    for parent_id in (parent, root):
        assert_stored_before(conversation_id, [draft._replace(parent_id=parent_id)], [row.id])


def test_a_new_message_cannot_follow_a_deleted_one(conversation_id: str):
    _, parent = say(conversation_id, "root", "parent")
    messages.remove(EVERYTHING, conversation_id, parent)
    assert_refused(conversation_id, [HELLO._replace(parent_id=parent)], Invalid)


@on_both
def test_a_message_that_was_deleted_is_not_stored_again():
    conversation_id = conversations.start(EVERYTHING, PROJECT).id
    (row,), _ = send(conversation_id, HELLO)
    messages.remove(EVERYTHING, conversation_id, row.id)
    refusal = assert_refused(conversation_id, [HELLO], MessageDeleted)
    assert refusal.extra == {"message_id": row.id}


def test_a_renamed_message_that_was_deleted_is_not_stored_again(conversation_id: str):
    (row,), _ = send(conversation_id, HELLO)
    other = HELLO._replace(content="Hello, there")
    renamed = messages.append_beside(EVERYTHING, conversation_id, row.id, other)
    messages.remove(EVERYTHING, conversation_id, renamed.id)
    refusal = assert_refused(conversation_id, [other], MessageDeleted)
    assert refusal.extra == {"message_id": renamed.id}


def test_a_deleted_message_is_a_410_over_http(api: Api, conversation_id: str):
    path = MESSAGES.format(conversation_id)
    body = {"role": "user", "content": "Hello", "client_id": "c"}
    made = api.post(path, body).json
    api.delete(f"{path}/{made['id']}")
    problem = assert_problem(api.post(path, body), 410, "message-deleted")
    assert problem["message_id"] == made["id"]
    assert api.get(path).json["messages"] == []


def test_a_client_id_is_known_for_ever(conversation_id: str, clock: Clock):
    (row,), _ = send(conversation_id, HELLO)
    clock.move(seconds=400 * 86_400)
    assert_stored_before(conversation_id, [HELLO], [row.id])


def test_a_client_id_is_of_one_conversation(conversation_id: str):
    other = conversations.start(EVERYTHING, PROJECT).id
    (first,), _ = send(conversation_id, HELLO)
    (second,), is_known = send(other, HELLO)
    assert (second.conversation_id, is_known) == (other, False)
    assert first.id != second.id


def test_copies_in_a_fork_have_no_client_id(conversation_id: str):
    send(conversation_id, HELLO)
    fork, (copy,) = transcripts.fork(EVERYTHING, conversation_id)
    assert copy.client_id is None
    assert send(fork.id, HELLO)[1] is False
    assert [row.client_id for row in transcripts.read(EVERYTHING, fork.id).messages] == [None, "c"]


def test_sending_again_does_not_switch_the_branch(conversation_id: str):
    (root,) = say(conversation_id, "root")
    draft = HELLO._replace(parent_id=root)
    send(conversation_id, draft)
    (other,), _ = send(conversation_id, Draft("user", "other", parent_id=root))
    send(conversation_id, draft)
    assert conversations.find(EVERYTHING, conversation_id).last_message_id == other.id


def test_a_stream_is_opened_once_and_answered_with_its_text_so_far(conversation_id: str):
    draft = Draft("assistant", "Hel", "in_progress", client_id="c")
    (row,), _ = send(conversation_id, draft)
    streams.append(EVERYTHING, conversation_id, row.id, 3, "lo")
    (again,), is_known = send(conversation_id, draft)
    assert (again.id, again.content, again.status, is_known) == (
        row.id, "Hello", "in_progress", True
    )  # fmt: skip
    assert Stream.select().count() == 1
    streams.append(EVERYTHING, conversation_id, row.id, 5, "!", "completed")
    ((ended,), _) = send(conversation_id, draft)
    assert (ended.content, ended.status) == ("Hello!", "completed")
    assert Stream.select().count() == 0


# Batches


@on_both
@pytest.mark.parametrize(
    "names", [("a", "b", "new"), ("new", "a", "b"), ("a", "new", "b"), ("new", "c")], ids=str
)
def test_a_batch_that_is_known_in_part_is_refused(names: tuple[str, ...]):
    conversation_id = conversations.start(EVERYTHING, PROJECT).id
    send(conversation_id, *batch_of("a", "b", "c"))
    assert_refused(conversation_id, batch_of(*names), ClientIdReused)


def test_a_batch_with_a_stream_that_is_known_in_part_opens_no_stream(conversation_id: str):
    send(conversation_id, *batch_of("a"))
    opened = Draft("assistant", "", "in_progress", client_id="new")
    assert_refused(conversation_id, [opened, *batch_of("a")], ClientIdReused)
    assert (Stream.select().count(), Event.select().count()) == (0, 0)


def test_a_batch_is_refused_if_one_of_it_is_another_message(conversation_id: str):
    send(conversation_id, *batch_of("a", "b", "c"))
    *good, last = batch_of("a", "b", "c")
    assert_refused(conversation_id, [*good, last._replace(content="other")], ClientIdReused)


def test_a_batch_of_which_one_was_deleted_is_refused(conversation_id: str):
    rows, _ = send(conversation_id, *batch_of("a", "b", "c"))
    messages.remove(EVERYTHING, conversation_id, rows[1].id)
    refusal = assert_refused(conversation_id, batch_of("a", "b", "c"), MessageDeleted)
    assert refusal.extra == {"message_id": rows[1].id}


def test_one_of_a_batch_may_be_sent_again_alone(conversation_id: str):
    rows, _ = send(conversation_id, *batch_of("a", "b", "c"))
    assert_stored_before(conversation_id, batch_of("b"), [rows[1].id])


def test_a_batch_below_a_parent_is_the_same_later(conversation_id: str):
    root, _ = say(conversation_id, "root", "leaf")
    first, *rest = batch_of("a", "b")
    drafts = [first._replace(parent_id=root), *rest]
    rows, _ = send(conversation_id, *drafts)
    assert [row.parent_id for row in rows] == [root, rows[0].id]
    say(conversation_id, "after")
    assert_stored_before(conversation_id, drafts, [row.id for row in rows])


@pytest.mark.parametrize(
    "client_ids",
    [("a", None), (None, "a"), ("a", "b", None), ("a", "a"), ("a", "b", "a")],
    ids=str,
)
def test_all_of_a_batch_have_client_ids_that_differ_or_none(
    api: Api, conversation_id: str, client_ids: tuple[str | None, ...]
):
    batch = [{"role": "user", "content": "x", "client_id": client_id} for client_id in client_ids]
    path = MESSAGES.format(conversation_id)
    problem = assert_problem(api.post(path, batch), 422, "invalid")
    assert "client_id" in problem["detail"]
    assert api.post("/api/v1/conversations", {"project_id": PROJECT, "messages": batch}).status == (
        422
    )
    assert (Message.select().count(), api.get(path).json["messages"]) == (0, [])


@pytest.mark.parametrize("client_id", ["", "x" * 65, "a\0b", 7, ["a"]])
def test_a_client_id_that_is_no_short_text_is_refused(client_id: object):
    body = {"role": "user", "content": "x", "client_id": client_id}
    adapter: TypeAdapter[Any] = TypeAdapter(OneOrBatch)
    for sent in (body, [body]):
        with pytest.raises(ValidationError, match="client_id"):
            adapter.validate_python(sent)


@pytest.mark.parametrize("client_id", ["x", " ", "é" * 64, "👩‍👩‍👧", "../a?b=c&d#e"])
def test_a_client_id_is_any_short_text(anyone: Caller, conversation_id: str, client_id: str):
    body = MessageCreate(role="user", content="x", client_id=client_id)
    first, second = [append_messages(anyone, conversation_id, body) for _ in range(2)]
    assert (first.status, second.status) == (201, 200)
    assert first.body.client_id == client_id
    assert second.body == first.body


def test_null_is_no_client_id(anyone: Caller, conversation_id: str):
    body = MessageCreate(role="user", content="x", client_id=None)
    ids = {append_messages(anyone, conversation_id, body).body.id for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.usefixtures("no_trash")
def test_client_ids_go_with_their_conversation(conversation_id: str):
    other = conversations.start(EVERYTHING, PROJECT).id
    for id in (conversation_id, other):
        send(id, HELLO)
    conversations.remove(EVERYTHING, conversation_id)
    database.close()
    assert [row[0] for row in dump()["client_id"]] == [other]


def test_a_stranger_learns_nothing_of_a_client_id(api: Api, strangers_key: str):
    conversation = conversations.start(EVERYTHING, PROJECT).id
    send(conversation, HELLO)
    database.close()
    body = {"role": "user", "content": "Hello", "client_id": "c"}
    for headers in ({"X-API-Key": strangers_key}, {"X-User-Id": "mallory"}):
        answer = api.post(MESSAGES.format(conversation), body, headers=headers)
        assert_problem(answer, 404, "conversation-not-found")
