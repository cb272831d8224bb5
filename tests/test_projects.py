"""Tests projects: which there are, and under `/projects` their conversations."""

import re
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from db import conversations, messages
from db.clock import time_of
from db.engine.database import database
from db.errors import ConversationNotFound
from db.messages import Draft
from db.models import Message
from db.scope import EVERYTHING, Scope
from handlers.http.caller import Caller
from handlers.http.preconditions import IfMatch
from handlers.http.problems import Problem
from handlers.projects import (
    PROJECTS,
    ArchiveQuery,
    Page,
    PageQuery,
    ProjectListQuery,
    ProjectResponse,
    Rename,
    archive_conversation,
    delete_project_conversation,
    list_project_conversations,
    list_projects,
    list_sso_conversations,
    rename_conversation,
)

from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import OTHER_PROJECT, PROJECT

FIELDS = [
    "type", "id", "title", "created_at", "is_archived", "project_id", "user_id", "last_message_id",
]  # fmt: skip


def path(rest: str = "", project: str = PROJECT) -> str:
    return f"/projects/{project}/conversations{rest}"


def start(user_id: str | None = None, title: str | None = None, project: str = PROJECT) -> str:
    return conversations.start(Scope(project, user_id), project, title).id


def page(caller: Caller, **query: Any) -> Page:
    return list_project_conversations(caller, PROJECT, PageQuery(**query))


def ids(page: Page) -> list[str]:
    return [conversation.id for conversation in page.data]


def test_a_page_has_the_documented_fields_in_order(api: Api):
    id = start("alice", "Planning")
    (message,) = messages.append(EVERYTHING, id, [Draft("user", "Hello")])
    answer = api.get(path())
    assert answer.status == 200
    assert list(answer.json) == ["data", "has_more", "first_id", "last_id"]
    (shown,) = answer.json["data"]
    assert list(shown) == FIELDS
    assert shown == {
        "type": "conversation",
        "id": id,
        "title": "Planning",
        "created_at": conversations.find(EVERYTHING, id).created_at,
        "is_archived": False,
        "project_id": PROJECT,
        "user_id": "alice",
        "last_message_id": message.id,
    }
    assert (answer.json["first_id"], answer.json["last_id"]) == (id, id)


def test_an_unset_field_is_null(anyone: Caller):
    start()
    (shown,) = page(anyone).data
    assert (shown.title, shown.user_id, shown.last_message_id) == (None, None, None)


@pytest.mark.parametrize("project", ["unknown", "not a UUID", "a/b", "Ünïcode 😀", "x" * 5_000])
def test_a_project_that_has_no_conversation_is_an_empty_page(api: Api, project: str):
    start()
    answer = api.get(path(project=quote(project, safe="")))
    assert answer.status == 200
    assert answer.json == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_a_project_may_be_called_anything(api: Api):
    id = start(project="a/b ü?")
    answer = api.get(path(project="a%2Fb%20%C3%BC%3F"))
    assert [shown["id"] for shown in answer.json["data"]] == [id]


def test_a_page_is_of_one_project_and_the_newest_are_first(anyone: Caller):
    made = [start(), start("alice"), start("bob")]
    start(project=OTHER_PROJECT)
    assert ids(page(anyone)) == made[::-1]


def test_a_user_sees_their_own(alice: Caller, bob: Caller):
    hers = [start("alice"), start("alice")]
    start("bob")
    start()
    assert ids(page(alice)) == hers[::-1]
    assert len(page(bob).data) == 1


def test_a_key_for_another_project_does_not_open_this_one(alice: Caller):
    with pytest.raises(Problem, match="does not open project"):
        list_project_conversations(alice, OTHER_PROJECT, PageQuery())


def test_the_sso_page_lists_the_signed_on_users_conversations(api: Api, alice: Caller):
    made = [start("alice"), start("bob"), start("alice"), start(), start("alice")]
    place = f"/projects/{PROJECT}/sso/conversations"
    answer = api.get(place, headers={"X-User-Id": "alice"}, limit=2)
    assert [shown["id"] for shown in answer.json["data"]] == [made[4], made[2]]
    assert answer.json["has_more"]
    query = PageQuery(after=answer.json["last_id"])
    assert ids(list_sso_conversations(alice, PROJECT, query)) == [made[0]]
    assert_problem(api.get(place), 401, "not-signed-on")
    assert_problem(api.get(place, headers={"X-User-Id": ""}), 401, "not-signed-on")


def test_archiving_and_unarchiving_can_be_repeated(anyone: Caller):
    id = start()
    for wanted in (True, True, False, False, True):
        shown = archive_conversation(anyone, PROJECT, id, ArchiveQuery(is_archived=wanted))
        assert shown.is_archived is wanted
        assert ids(page(anyone, is_archived=wanted)) == [id]
        assert ids(page(anyone, is_archived=not wanted)) == []
    assert ids(page(anyone)) == [id]


def test_archiving_an_archived_conversation_changes_nothing(anyone: Caller):
    id = start()
    archive_conversation(anyone, PROJECT, id, ArchiveQuery())
    before = conversations.find(EVERYTHING, id)
    archive_conversation(anyone, PROJECT, id, ArchiveQuery())
    assert conversations.find(EVERYTHING, id) == before


@pytest.mark.parametrize(
    ("query", "is_archived"),
    [({}, True), ({"is_archived": "true"}, True), ({"is_archived": "false"}, False)],
)
def test_archiving_over_http(api: Api, query: dict[str, str], is_archived: bool):
    id = start()
    answer = api.post(path(f"/{id}/archive"), **query)
    assert answer.status == 200
    assert list(answer.json) == FIELDS
    assert answer.json["is_archived"] is is_archived


def test_renaming(api: Api, anyone: Caller):
    id = start(title="Plans")
    assert rename_conversation(anyone, PROJECT, id, Rename(title=" Über 😀 ")).title == "Über 😀"
    answer = api.post(path(f"/{id}/rename/"), {"title": "text"})
    assert answer.status == 200
    assert list(answer.json) == FIELDS
    assert answer.json["title"] == "text"


@pytest.mark.parametrize(
    "body", [{}, {"title": None}, {"title": " "}, {"title": "x" * 256}, {"name": "x"}]
)
def test_a_new_name_that_is_invalid_is_refused(body: dict[str, Any]):
    with pytest.raises(ValidationError):
        Rename(**body)


@pytest.mark.usefixtures("no_trash")
def test_deleting_answers_null_and_takes_the_messages_along(api: Api):
    gone, kept = start(), start()
    for id in (gone, kept):
        messages.append(EVERYTHING, id, [Draft("user", "Hello")])
    answer = api.delete(path(f"/{gone}"))
    assert (answer.status, answer.body) == (200, b"null")
    assert {message.conversation_id for message in Message.select()} == {kept}
    assert_problem(api.delete(path(f"/{gone}")), 404, "conversation-not-found")


def test_a_deletion_may_be_bound_to_a_version(api: Api):
    id = start("alice")
    stale = api.delete(path(f"/{id}"), headers={"If-Match": '"99"'})
    assert_problem(stale, 412, "stale-precondition")
    current = api.get(f"/api/v1/conversations/{id}").headers["etag"]
    assert api.delete(path(f"/{id}"), headers={"If-Match": current}).status == 200


@pytest.mark.parametrize(
    "write",
    [
        partial(archive_conversation, query=ArchiveQuery()),
        partial(rename_conversation, body=Rename(title="Mine")),
        partial(delete_project_conversation, headers=IfMatch()),
    ],
    ids=["archive", "rename", "delete"],
)
def test_a_conversation_is_found_in_its_own_project_only(
    anyone: Caller, write: Callable[..., object]
):
    id = start(project=OTHER_PROJECT)
    before = conversations.find(EVERYTHING, id)
    with pytest.raises(ConversationNotFound):
        write(anyone, PROJECT, id)
    assert conversations.find(EVERYTHING, id) == before


def test_both_apis_show_the_same_conversation(api: Api):
    made = api.post("/api/v1/conversations", {"project_id": PROJECT, "title": "Plans"}).json
    (shown,) = api.get(path()).json["data"]
    assert {name: made[name] for name in ("id", "title", "created_at", "project_id")} == {
        name: shown[name] for name in ("id", "title", "created_at", "project_id")
    }
    api.post(path(f"/{made['id']}/rename"), {"title": "Better plans"})
    assert api.get(f"/api/v1/conversations/{made['id']}").json["title"] == "Better plans"


# /api/v1/projects


def listed(caller: Caller, **query: Any) -> list[str]:
    return [it.id for it in list_projects(caller, ProjectListQuery(**query)).body.projects]


def test_projects_are_listed_by_their_ids_with_their_last_activity(api: Api, clock: Clock):
    empty = api.get(PROJECTS)
    told = {"projects": [], "has_more": False, "project_id": None}
    assert (empty.status, empty.json) == (200, told)
    first = start(project="b")
    start(project="a")
    clock.move(seconds=60)
    start(project="b")
    clock.move(seconds=60)
    (message,) = messages.append(EVERYTHING, first, [Draft("user", "Hello")])
    clock.move(seconds=60)
    conversations.change(EVERYTHING, first, title="New", is_archived=True)
    messages.edit(EVERYTHING, first, message.id, content="Edited")
    database.close()
    answer = api.get(PROJECTS)
    assert list(answer.json) == ["projects", "has_more", "project_id"]
    assert [list(it) for it in answer.json["projects"]] == [["id", "last_active_at"]] * 2
    a, b = answer.json["projects"]
    assert (a["id"], b["id"]) == ("a", "b")
    assert a["last_active_at"] < b["last_active_at"] == time_of(message.id)
    assert "link" not in answer.headers


@pytest.mark.parametrize("flags", [*product((False, True), repeat=2)], ids=str)
def test_a_project_of_which_all_is_archived_or_pinned_is_listed_too(
    anyone: Caller, flags: tuple[bool, bool]
):
    is_archived, is_pinned = flags
    for _ in range(2):
        id = start()
        conversations.change(EVERYTHING, id, is_archived=is_archived, is_pinned=is_pinned)
    (found,) = list_projects(anyone, ProjectListQuery()).body.projects
    assert found == ProjectResponse(PROJECT, time_of(id))


@pytest.mark.parametrize("user", [None, "alice"])
@pytest.mark.parametrize("limit", [1, 2, 4, 100])
def test_pages_of_projects_show_each_one_once(api: Api, limit: int, user: str | None):
    names = [" ", "10", "9", "A", "a", "a/b ü?", "ä", "👩‍👩‍👧", PROJECT]
    for name in names:
        for _ in range(2):
            start("alice", project=name)
        start("bob", project=f"{name}, too")
    database.close()
    expected = sorted(names if user else [*names, *(f"{name}, too" for name in names)])
    api.headers["X-User-Id"] = user
    answer = api.get(PROJECTS, limit=limit)
    seen = [it["id"] for it in answer.json["projects"]]
    while answer.json["has_more"]:
        assert len(answer.json["projects"]) == limit
        (target,) = re.findall('^<([^>]*)>; rel="next"$', answer.headers["link"])
        answer = api.get(target)
        seen += [it["id"] for it in answer.json["projects"]]
    assert "link" not in answer.headers
    assert seen == expected


def test_everybody_is_told_of_the_projects_in_which_they_see_something(
    anyone: Caller, alice: Caller, bob: Caller
):
    start("alice")
    start(project=OTHER_PROJECT)
    assert listed(anyone) == sorted([PROJECT, OTHER_PROJECT])
    assert listed(alice) == [PROJECT]
    assert listed(bob) == []
    assert listed(Caller(Scope(PROJECT))) == [PROJECT]
    assert listed(Caller(Scope("unused"))) == []
    assert listed(Caller(Scope(None, "alice"))) == [PROJECT]
    assert listed(Caller(Scope(OTHER_PROJECT, "alice"))) == []


def test_a_users_last_activity_is_their_own(alice: Caller, clock: Clock):
    hers = start("alice")
    clock.move(seconds=60)
    start("bob")
    (found,) = list_projects(alice, ProjectListQuery()).body.projects
    assert found.last_active_at == time_of(hers)


def test_a_project_is_gone_with_its_last_conversation(anyone: Caller):
    ids = [start(), start()]
    for id, left in zip(ids, ([PROJECT], []), strict=True):
        conversations.remove(EVERYTHING, id)
        assert listed(anyone) == left


@pytest.mark.usefixtures("either_store")
def test_both_engines_list_the_same_projects(anyone: Caller):
    for name in ("b", "A", "a", "ä"):
        start("alice", project=name)
    found = listed(anyone)
    assert found == listed(Caller(Scope(None, "alice")))
    assert sorted(found) == ["A", "a", "b", "ä"]  # a database server may sort by a locale
    assert listed(anyone, limit=2) == found[:2]


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"cursor": "A" * 40}, {"skip": 1}],
    ids=str,
)
def test_a_list_of_projects_that_is_invalid_is_refused(api: Api, query: dict[str, Any]):
    problem = assert_problem(api.get(PROJECTS, **query), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["query", *query]


def test_the_list_tells_the_one_project_that_a_key_opens(api: Api, strangers_key: str):
    assert api.get("/api/v1/projects").json["project_id"] is None
    bound = api.get("/api/v1/projects", headers={"X-API-Key": strangers_key})
    assert bound.json == {"projects": [], "has_more": False, "project_id": OTHER_PROJECT}
