"""Tests `/api/v1/conversations/{conversation_id}/messages`."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from playhouse.test_utils import assert_query_count

from db import conversations, messages
from db.errors import Invalid, MessageNotFound
from db.messages import Draft
from db.models import Message, MessageRow
from db.scope import EVERYTHING
from handlers.http.caller import Caller
from handlers.messages import (
    MessageCreate,
    MessagePatch,
    MessageQuery,
    append_messages,
    delete_message,
    edit_message,
    get_message,
    list_messages,
)

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import PROJECT

MESSAGES = "/api/v1/conversations/{}/messages"
FIELDS = [
    "id", "conversation_id", "role", "content", "status", "metadata", "created_at", "updated_at",
    "parent_id", "client_id",
]  # fmt: skip


def say(conversation_id: str, *contents: str) -> list[MessageRow]:
    drafts = [Draft("user", content) for content in contents]
    return messages.append(EVERYTHING, conversation_id, drafts)


def contents(conversation_id: str) -> list[Any]:
    return [row.content for row in messages.page_for(EVERYTHING, conversation_id).rows]


def test_an_appended_message_has_the_documented_fields_in_order(api: Api, conversation_id: str):
    path = MESSAGES.format(conversation_id)
    answer = api.post(path, {"role": "user", "content": "Hello", "metadata": {"mood": "good"}})
    assert answer.status == 201
    assert list(answer.json) == FIELDS
    assert answer.json["status"] == "completed"
    assert answer.headers["location"] == f"{path}/{answer.json['id']}"
    assert api.get(answer.headers["location"]).json == answer.json


def test_appending_updates_the_conversation(anyone: Caller, conversation_id: str, clock: Clock):
    before = conversations.find(EVERYTHING, conversation_id)
    clock.move(seconds=1)
    message = append_messages(anyone, conversation_id, MessageCreate(role="user", content="Hi"))
    after = conversations.find(EVERYTHING, conversation_id)
    assert after.last_message_id == message.body.id
    assert after.updated_at >= message.body.created_at > before.updated_at


@pytest.mark.parametrize(
    "content",
    [
        "",
        "Grüße, 世界 👩‍👩‍👧 \U0001f600 \u2028\x85\x7f\r\n\t",
        "'; DROP TABLE message; --",
        [],
        [{"type": "text", "text": "Hello"}],
        [{"zebra": 1, "apple": 2}, {"type": "image", "data": {"deep": [[], {}, None, True]}}],
        [{"int": 12345678901234567890123, "float": 0.1, "whole": 1.0, "tiny": 5e-324, "nul": "\0"}],
    ],
)
def test_content_is_stored_verbatim(api: Api, conversation_id: str, content: Any):
    path = MESSAGES.format(conversation_id)
    made = api.post(path, {"role": "tool", "content": content}).json
    listed = api.get(path).json["messages"][0]
    # Compare text, because dictionaries are equal whatever the order of their keys.
    assert json.dumps(made["content"]) == json.dumps(content)
    assert json.dumps(listed["content"]) == json.dumps(content)


def test_metadata_is_stored_verbatim(api: Api, conversation_id: str):
    path = MESSAGES.format(conversation_id)
    metadata = {"z": [1, 1.0, "1", None], "a": {"ключ": "值 👋"}, "": {}}
    made = api.post(path, {"role": "user", "content": "Hello", "metadata": metadata}).json
    assert json.dumps(api.get(f"{path}/{made['id']}").json["metadata"]) == json.dumps(metadata)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"role": "user"}, "content"),
        ({"content": "Hello"}, "role"),
        ({"role": "robot", "content": "Hello"}, "role"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": 7}, "content"),
        ({"role": "user", "content": "nul \0 here"}, "content"),
        ({"role": "user", "content": ["a part is an object"]}, "content"),
        ({"role": "user", "content": "Hello", "status": "done"}, "status"),
        ({"role": "user", "content": "Hello", "metadata": ["list"]}, "metadata"),
        ({"role": "user", "content": "Hello", "metdata": {}}, "metdata"),
        ({"role": "user", "content": [{}], "status": "in_progress"}, "content"),
    ],
)
def test_a_message_that_is_invalid_is_refused(api: Api, conversation_id: str, body: Any, loc: str):
    answer = api.post(MESSAGES.format(conversation_id), body)
    problem = assert_problem(answer, 422, "invalid")
    assert any(loc in error["loc"] for error in problem["errors"])
    assert contents(conversation_id) == []


def test_a_number_that_json_cannot_express_is_refused(conversation_id: str):
    with pytest.raises(Invalid):
        messages.append(
            EVERYTHING, conversation_id, [Draft("user", "Hello", metadata={"n": float("inf")})]
        )
    assert contents(conversation_id) == []


def test_a_batch_is_stored_in_its_order(anyone: Caller, conversation_id: str):
    batch = [MessageCreate(role="user", content=str(n)) for n in range(100)]
    made = append_messages(anyone, conversation_id, batch).body
    assert [message.content for message in made] == [str(n) for n in range(100)]
    assert contents(conversation_id) == [str(n) for n in range(100)]


def test_a_batch_is_stored_whole_or_not_at_all(api: Api, conversation_id: str):
    before = conversations.find(EVERYTHING, conversation_id)
    good = {"role": "user", "content": "Hello"}
    bad = {"role": "assistant", "content": [], "status": "in_progress"}
    answer = api.post(MESSAGES.format(conversation_id), [good] * 49 + [bad, good])
    assert_problem(answer, 422, "invalid")
    assert contents(conversation_id) == []
    assert conversations.find(EVERYTHING, conversation_id) == before


@pytest.mark.parametrize("size", [0, 101])
def test_a_batch_has_1_to_100_messages(api: Api, conversation_id: str, size: int):
    batch = [{"role": "user", "content": "Hello"}] * size
    answer = api.post(MESSAGES.format(conversation_id), batch)
    assert_problem(answer, 422, "invalid")


def test_ids_grow_with_positions_when_the_clock_goes_back(conversation_id: str, clock: Clock):
    rows = say(conversation_id, "a", "b")
    clock.move(seconds=-3600)
    rows += say(conversation_id, "c")
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert [row.position for row in rows] == [1, 2, 3]
    assert rows[2].created_at >= rows[1].created_at


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 4, 7, 100])
def test_pages_show_each_message_once_both_ways(
    anyone: Caller, conversation_id: str, order: str, limit: int
):
    rows = say(conversation_id, *"abcdefg")
    ordered = [row.id for row in rows][:: 1 if order == "asc" else -1]

    forwards: list[str] = []
    page = list_messages(anyone, conversation_id, MessageQuery(order=order, limit=limit))
    while True:
        forwards += [message.id for message in page.messages]
        assert (page.first_id, page.last_id) == (page.messages[0].id, page.messages[-1].id)
        if not page.has_more:
            break
        query = MessageQuery(order=order, limit=limit, after=page.last_id)
        page = list_messages(anyone, conversation_id, query)
    assert forwards == ordered

    backwards: list[str] = []
    while page.first_id != ordered[0]:
        query = MessageQuery(order=order, limit=limit, before=page.first_id)
        page = list_messages(anyone, conversation_id, query)
        backwards = [message.id for message in page.messages] + backwards
    assert not page.has_more
    assert backwards == ordered[: len(backwards)]


def test_an_empty_page_has_no_cursors(anyone: Caller, conversation_id: str):
    page = list_messages(anyone, conversation_id, MessageQuery())
    assert asdict(page) == {
        "messages": [], "has_more": False, "first_id": None, "last_id": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gone", "query", "expected"),
    [
        ("c", {"after": "c"}, "de"),
        ("c", {"before": "c"}, "ab"),
        ("c", {"after": "c", "order": "desc"}, "ba"),
        ("c", {"before": "c", "order": "desc"}, "ed"),
        ("bcd", {"after": "c", "order": "desc"}, "a"),
        ("bcd", {"before": "c", "order": "desc"}, "e"),
        ("a", {"before": "a"}, ""),
        ("a", {"after": "a"}, "bcde"),
        ("e", {"after": "e"}, ""),
        ("e", {"before": "e"}, "abcd"),
        ("abcde", {"after": "c"}, ""),
    ],
)
def test_a_deleted_message_is_still_a_cursor(
    anyone: Caller, conversation_id: str, gone: str, query: dict[str, str], expected: str
):
    ids = {row.content: row.id for row in say(conversation_id, *"abcde")}
    for content in gone:
        delete_message(anyone, conversation_id, ids[content])
    query = {name: ids.get(value, value) for name, value in query.items()}
    page = list_messages(anyone, conversation_id, MessageQuery(**query))
    assert "".join(message.content for message in page.messages) == expected


def test_every_deleted_message_is_a_cursor_among_sparse_positions(
    anyone: Caller, conversation_id: str
):
    rows = []
    for number in range(24):
        rows += say(conversation_id, str(number))
        for _ in range(number % 4):  # each edit takes a number
            edit_message(anyone, conversation_id, rows[-1].id, MessagePatch(metadata={}))
    left = [row.id for number, row in enumerate(rows) if number % 5 == 2]
    for row in rows:
        if row.id not in left:
            delete_message(anyone, conversation_id, row.id)
    for cursor in (row.id for row in rows):
        after = list_messages(anyone, conversation_id, MessageQuery(after=cursor))
        assert [message.id for message in after.messages] == [id for id in left if id > cursor]
        before = list_messages(anyone, conversation_id, MessageQuery(before=cursor))
        assert [message.id for message in before.messages] == [id for id in left if id < cursor]


def test_the_cursor_of_the_deleted_newest_message_comes_before_later_messages(
    anyone: Caller, conversation_id: str, clock: Clock
):
    *_, newest = say(conversation_id, "a", "b")
    delete_message(anyone, conversation_id, newest.id)
    clock.move(seconds=-3600)
    say(conversation_id, "c")
    page = list_messages(anyone, conversation_id, MessageQuery(after=newest.id))
    assert [message.content for message in page.messages] == ["c"]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 1001}, {"order": "up"}, {"after": "x"}, {"skip": 1},
        {"after": PROJECT, "before": PROJECT},
    ],
)  # fmt: skip
def test_a_page_that_is_invalid_is_refused(api: Api, conversation_id: str, query: dict[str, Any]):
    assert_problem(api.get(MESSAGES.format(conversation_id), **query), 422, "invalid")


@pytest.mark.parametrize("limit", [1, 100])
def test_a_page_takes_the_same_number_of_queries_at_any_size(conversation_id: str, limit: int):
    say(conversation_id, *map(str, range(100)))
    with assert_query_count(2):  # the conversation, its messages
        page = messages.page_for(EVERYTHING, conversation_id, limit)
    assert len(page.rows) == limit


def test_editing_changes_what_was_sent_and_nothing_else(anyone: Caller, conversation_id: str):
    draft = Draft("user", "Helo", metadata={"n": 1})
    (message,) = messages.append(EVERYTHING, conversation_id, [draft])
    edited = edit_message(anyone, conversation_id, message.id, MessagePatch(content="Hello"))
    assert (edited.content, edited.metadata, edited.status) == ("Hello", {"n": 1}, "completed")
    edited = edit_message(anyone, conversation_id, message.id, MessagePatch(metadata=None))
    assert (edited.content, edited.metadata) == ("Hello", None)
    assert get_message(anyone, conversation_id, message.id) == edited


def test_editing_text_into_parts_and_back(anyone: Caller, conversation_id: str):
    (message,) = say(conversation_id, "Hello")
    parts = [{"type": "text", "text": "Hello"}]
    for content in (parts, "[]"):
        edited = edit_message(anyone, conversation_id, message.id, MessagePatch(content=content))
        assert edited.content == content
        assert get_message(anyone, conversation_id, message.id).content == content


@pytest.mark.parametrize(
    "patch", [{}, {"content": "Hello"}, {"metadata": {"n": 1}}, {"status": "completed"}]
)
def test_an_edit_that_sets_what_is_set_already_changes_nothing(
    anyone: Caller, conversation_id: str, patch: dict[str, Any]
):
    """A client repeats a request whose answer was lost. Its followers are told once."""
    draft = Draft("user", "Hello", metadata={"n": 1})
    (message,) = messages.append(EVERYTHING, conversation_id, [draft])
    before = conversations.find(EVERYTHING, conversation_id)
    edited = edit_message(anyone, conversation_id, message.id, MessagePatch(**patch))
    assert (edited.content, edited.updated_at) == ("Hello", message.updated_at)
    assert conversations.find(EVERYTHING, conversation_id) == before


def test_an_edit_is_compared_as_it_is_stored(anyone: Caller, conversation_id: str):
    (message,) = say(conversation_id, [{"n": 1}])
    edit_message(anyone, conversation_id, message.id, MessagePatch(content=[{"n": True}]))
    assert get_message(anyone, conversation_id, message.id).content[0]["n"] is True
    text = '[{"n":true}]'
    edit_message(anyone, conversation_id, message.id, MessagePatch(content=text))
    assert get_message(anyone, conversation_id, message.id).content == text


@pytest.mark.parametrize(
    "body",
    [{"content": None}, {"status": None}, {"role": "user"}, {"id": "x"}, {"status": "deleted"}],
)
def test_an_edit_that_is_invalid_is_refused(api: Api, conversation_id: str, body: Any):
    (message,) = say(conversation_id, "Hello")
    answer = api.patch(f"{MESSAGES.format(conversation_id)}/{message.id}", body)
    assert_problem(answer, 422, "invalid")


def test_parts_cannot_be_reopened_as_a_stream(anyone: Caller, conversation_id: str):
    (message,) = messages.append(EVERYTHING, conversation_id, [Draft("user", [{"type": "x"}])])
    with pytest.raises(Invalid):
        edit_message(anyone, conversation_id, message.id, MessagePatch(status="in_progress"))
    assert get_message(anyone, conversation_id, message.id).status == "completed"


def test_the_last_message_is_the_newest_that_is_left(anyone: Caller, conversation_id: str):
    first, second, third = say(conversation_id, "a", "b", "c")
    for gone, left in ((second, third.id), (third, first.id), (first, None)):
        delete_message(anyone, conversation_id, gone.id)
        assert conversations.find(EVERYTHING, conversation_id).last_message_id == left


def test_a_deleted_message_is_gone(api: Api, conversation_id: str):
    (message,) = say(conversation_id, "Hello")
    path = f"{MESSAGES.format(conversation_id)}/{message.id}"
    assert api.delete(path).status == 204
    for answer in (api.get(path), api.patch(path, {"content": "x"}), api.delete(path)):
        assert_problem(answer, 404, "message-not-found")


def test_a_message_is_found_in_its_own_conversation_only(anyone: Caller, conversation_id: str):
    (message,) = say(conversation_id, "Hello")
    other = conversations.start(EVERYTHING, PROJECT)
    for verb in (
        lambda: get_message(anyone, other.id, message.id),
        lambda: edit_message(anyone, other.id, message.id, MessagePatch(content="x")),
        lambda: delete_message(anyone, other.id, message.id),
    ):
        with pytest.raises(MessageNotFound):
            verb()
    assert contents(conversation_id) == ["Hello"]


@pytest.mark.usefixtures("no_trash")
def test_messages_are_deleted_with_their_conversation(conversation_id: str):
    say(conversation_id, "Hello")
    conversations.remove(EVERYTHING, conversation_id)
    assert Message.select().count() == 0
