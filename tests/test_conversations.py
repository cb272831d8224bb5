"""Tests `/api/v1/conversations`: how callers create, get, change and delete a conversation."""

import re
from dataclasses import asdict, replace

import pytest
from playhouse.test_utils import assert_query_count
from pydantic import ValidationError

from db import conversations, messages
from db.errors import ConversationNotFound
from db.messages import Draft
from db.models import Conversation, Event, Message
from db.scope import EVERYTHING
from handlers.conversations import (
    CONVERSATIONS,
    ConversationCreate,
    ConversationPatch,
    ConversationQuery,
    ConversationResponse,
    change_conversation,
    create_conversation,
    delete_conversation,
    get_conversation,
)
from handlers.http.caller import Caller
from handlers.http.preconditions import IfMatch, IfNoneMatch
from handlers.http.problems import Problem

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import OTHER_PROJECT, PROJECT

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = [
    *("id", "project_id", "title", "messages", "created_at", "updated_at"),
    *("user_id", "key", "is_archived", "is_pinned", "is_held", "tags", "metadata"),
    "last_message_id",
]


def create(caller: Caller, title: str | None = None, project: str = PROJECT) -> str:
    return create_conversation(caller, ConversationCreate(project_id=project, title=title)).body.id


def get(caller: Caller, id: str) -> ConversationResponse:
    return get_conversation(caller, id, ConversationQuery(), IfNoneMatch()).body


def change(caller: Caller, id: str, **fields: object) -> ConversationResponse:
    return change_conversation(caller, id, ConversationPatch(**fields), IfMatch()).body


def say(id: str, *contents: str) -> None:
    messages.append(EVERYTHING, id, [Draft("user", content) for content in contents])


def test_a_new_conversation_has_the_documented_fields_in_order(api: Api):
    answer = api.post(CONVERSATIONS, {"project_id": PROJECT, "title": "Architecture planning"})
    assert answer.status == 201
    made = answer.json
    assert list(made) == FIELDS
    assert UUID7.fullmatch(made["id"])
    assert TIME.fullmatch(made["created_at"])
    assert made["created_at"] == made["updated_at"]
    assert (made["project_id"], made["title"], made["messages"]) == (
        PROJECT, "Architecture planning", []
    )  # fmt: skip
    assert answer.headers["location"] == f"{CONVERSATIONS}/{made['id']}"
    assert api.get(answer.headers["location"]).json == made


def test_a_title_is_optional(anyone: Caller):
    assert get(anyone, create(anyone)).title is None


@pytest.mark.parametrize(
    "title", ["x" * 255, "  " + "é" * 255 + "\n", "👩‍👩‍👧 😀", "'; DROP TABLE conversation; --"]
)
def test_a_title_is_stripped_and_otherwise_kept(anyone: Caller, title: str):
    assert get(anyone, create(anyone, title)).title == title.strip()


@pytest.mark.parametrize("title", ["", "  ", "\u3000\n", "x" * 256, "a\0b", 1, True, ["x"]])
@pytest.mark.parametrize("schema", [ConversationCreate, ConversationPatch])
def test_a_title_that_is_blank_or_long_or_no_text_is_refused(schema: type, title: object):
    with pytest.raises(ValidationError, match="title"):
        schema.model_validate({"project_id": PROJECT, "title": title})


@pytest.mark.parametrize(
    "spelling", [PROJECT.upper(), PROJECT.replace("-", ""), f"urn:uuid:{PROJECT}"]
)
def test_a_project_is_the_same_in_any_spelling(anyone: Caller, spelling: str):
    assert get(anyone, create(anyone, project=spelling)).project_id == PROJECT


@pytest.mark.parametrize("project", [None, "", "x", 7, f"{PROJECT}0", "1" * 31])
def test_a_project_that_is_no_uuid_is_refused(project: object):
    with pytest.raises(ValidationError, match="project_id"):
        ConversationCreate(project_id=project)


def test_ids_sort_by_age(anyone: Caller):
    ids = [create(anyone) for _ in range(50)]
    assert ids == sorted(ids)


def test_a_user_makes_conversations_in_their_own_name(alice: Caller, bob: Caller, anyone: Caller):
    id = create(alice)
    assert conversations.find(EVERYTHING, id).user_id == "alice"
    assert get(alice, id) == get(anyone, id)
    with pytest.raises(ConversationNotFound):
        get(bob, id)


def test_a_projects_key_makes_none_in_another_project(alice: Caller):
    with pytest.raises(Problem, match="does not open project"):
        create(alice, project=OTHER_PROJECT)
    assert Conversation.select().count() == 0


def test_a_conversation_is_shown_with_its_messages_oldest_first(anyone: Caller):
    id = create(anyone)
    say(id, "one", "two")
    say(id, "three")
    assert [message.content for message in get(anyone, id).messages] == ["one", "two", "three"]


@pytest.mark.parametrize("path", ["{}", "{}/"])
def test_an_existing_conversation_is_found_and_an_unknown_one_is_not(
    api: Api, anyone: Caller, path: str
):
    id = create(anyone)
    answer = api.get(f"{CONVERSATIONS}/{path.format(id)}")
    assert answer.status == 200
    assert answer.json == asdict(get(anyone, id))
    unknown = api.get(f"{CONVERSATIONS}/{path.format(PROJECT)}")
    assert PROJECT in assert_problem(unknown, 404, "conversation-not-found")["detail"]


def test_without_messages_no_message_row_is_read(anyone: Caller):
    id = create(anyone)
    say(id, "one")
    with assert_query_count(1):
        shown = get_conversation(
            anyone, id, ConversationQuery(include_messages=False), IfNoneMatch()
        ).body
    assert shown.messages == []


def test_absent_fields_stay_and_null_clears_a_field(anyone: Caller):
    id = create(anyone, "Planning")
    assert change(anyone, id, is_archived=True).title == "Planning"
    assert conversations.find(EVERYTHING, id).is_archived
    assert change(anyone, id, title="  Plans ").title == "Plans"
    assert change(anyone, id, title=None).title is None
    assert conversations.find(EVERYTHING, id).is_archived
    assert change(anyone, id, is_archived=False).title is None
    assert not conversations.find(EVERYTHING, id).is_archived


def test_a_change_moves_updated_at_and_leaves_the_rest(anyone: Caller, clock: Clock):
    id = create(anyone, "Planning")
    say(id, "one")
    before = get(anyone, id)
    clock.move(seconds=1)
    after = change(anyone, id, title="Plans")
    assert after.updated_at > before.updated_at
    assert replace(after, title="Planning", updated_at=before.updated_at) == before
    assert after == get(anyone, id)


def test_a_change_to_the_same_values_changes_nothing(anyone: Caller):
    id = create(anyone, "Planning")
    before = conversations.find(EVERYTHING, id)
    change(anyone, id)
    change(anyone, id, title=" Planning", is_archived=False)
    assert conversations.find(EVERYTHING, id) == before
    assert Event.select().count() == 0


@pytest.mark.parametrize(
    "body",
    [
        {"is_archived": None}, {"is_archived": "maybe"}, {"titel": "x"}, {"project_id": PROJECT},
        {"is_pinned": None}, {"is_held": "maybe"}, {"tags": None}, {"metadata": [1]},
        {"last_message_id": None}, {"last_message_id": "x"}, {"last_message_id": PROJECT},
        {"key": "k"}, {"user_id": "alice"}, {"messages": []},
    ],
)  # fmt: skip
def test_a_change_that_is_invalid_is_refused(api: Api, anyone: Caller, body: dict[str, object]):
    id = create(anyone, "Planning")
    assert_problem(api.patch(f"{CONVERSATIONS}/{id}", body), 422, "invalid")
    assert get(anyone, id).title == "Planning"


def test_changing_and_deleting_over_http(api: Api, anyone: Caller):
    path = f"{CONVERSATIONS}/{create(anyone)}/"
    changed = api.patch(path, {"title": "Plans"})
    assert changed.status == 200
    assert list(changed.json) == FIELDS
    assert changed.headers["etag"] == api.get(path).headers["etag"]
    deleted = api.delete(path)
    assert (deleted.status, deleted.body) == (204, b"")
    for answer in (api.get(path), api.patch(path, {}), api.delete(path)):
        assert_problem(answer, 404, "conversation-not-found")


@pytest.mark.usefixtures("no_trash")
def test_a_deleted_conversation_takes_its_own_rows_along_and_no_others(anyone: Caller):
    gone, kept = create(anyone), create(anyone)
    for id in (gone, kept):
        say(id, "one")
        messages.append(EVERYTHING, id, [Draft("assistant", "two", "in_progress")])
        change(anyone, id, title="Plans")
    before = get(anyone, kept)
    delete_conversation(anyone, gone, IfMatch())
    assert [row.id for row in Conversation.select()] == [kept]
    assert {message.conversation_id for message in Message.select()} == {kept}
    assert {event.conversation_id for event in Event.select()} == {kept}
    assert get(anyone, kept) == before
