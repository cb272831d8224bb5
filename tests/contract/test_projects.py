"""Tests `/projects`: a project's conversations, paged by cursor, and who may see them."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.clients import Api, assert_problem

from .conftest import Target

FIELDS = [
    "type", "id", "title", "created_at", "is_archived", "project_id", "user_id", "last_message_id",
]  # fmt: skip


def create(api: Api, project: str, count: int, **headers: str) -> list[str]:
    """Create conversations and return their ids, newest first."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"project_id": project}
    made = [api.post("/api/v1/conversations", body, headers=named) for _ in range(count)]
    return [answer.json["id"] for answer in made][::-1]


def ids_of(page: dict[str, Any]) -> list[str]:
    return [conversation["id"] for conversation in page["data"]]


def test_a_page_has_the_documented_fields_in_order(
    api: Api, project: str, conversation: dict[str, Any]
):
    answer = api.get(f"/projects/{project}/conversations")
    assert answer.status == 200
    assert list(answer.json) == ["data", "has_more", "first_id", "last_id"]
    (listed,) = answer.json["data"]
    assert list(listed) == FIELDS
    assert listed == {
        "type": "conversation",
        "id": conversation["id"],
        "title": "Planning",
        "created_at": conversation["created_at"],
        "is_archived": False,
        "project_id": project,
        "user_id": None,
        "last_message_id": None,
    }


def test_cursors_lead_through_all_pages_and_back_after_a_deletion(api: Api, project: str):
    ids = create(api, project, 5)
    path = f"/projects/{project}/conversations"
    first = api.get(path, limit=2).json
    assert (ids_of(first), first["has_more"]) == (ids[:2], True)
    api.delete(f"{path}/{ids[1]}")
    second = api.get(path, limit=2, after=first["last_id"]).json
    assert (ids_of(second), second["has_more"]) == (ids[2:4], True)
    third = api.get(path, limit=2, after=second["last_id"]).json
    assert (ids_of(third), third["has_more"]) == (ids[4:], False)
    back = api.get(path, limit=2, before=third["first_id"]).json
    assert (ids_of(back), back["has_more"]) == (ids[2:4], True)


def test_a_project_that_nobody_used_is_an_empty_page(api: Api, project: str):
    page = api.get(f"/projects/{project}/conversations").json
    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("name", ["my project", "Zoë 👋", "50%", "%41", "a/b", "a+b", "…"])
def test_a_project_may_be_called_anything(name: str, api: Api):
    answer = api.get(f"/projects/{quote(name, safe='')}/conversations")
    assert (answer.status, answer.json["data"]) == (200, [])


def test_archiving_and_unarchiving_can_be_repeated(
    api: Api, project: str, conversation: dict[str, Any]
):
    path = f"/projects/{project}/conversations/{conversation['id']}/archive"
    for query, archived in (({}, True), ({"is_archived": "true"}, True)) * 2:
        assert api.post(path, **query).json["is_archived"] is archived
    listed = api.get(f"/projects/{project}/conversations", is_archived="true").json
    assert ids_of(listed) == [conversation["id"]]
    assert api.post(path, is_archived="false").json["is_archived"] is False


def test_renaming_answers_the_conversation(api: Api, project: str, conversation: dict[str, Any]):
    path = f"/projects/{project}/conversations/{conversation['id']}/rename"
    answer = api.post(path, {"title": "Renamed"})
    assert (answer.status, list(answer.json)) == (200, FIELDS)
    assert answer.json["title"] == "Renamed"


def test_deleting_answers_null(api: Api, project: str, conversation: dict[str, Any]):
    path = f"/projects/{project}/conversations/{conversation['id']}"
    answer = api.delete(path)
    assert (answer.status, answer.json) == (200, None)
    assert_problem(api.delete(path), 404, "conversation-not-found")


def test_a_user_sees_their_own_and_nobody_else_does(api: Api, project: str):
    hers = create(api, project, 2, X_User_Id="zoe")
    create(api, project, 1, X_User_Id="adam")
    path = f"/projects/{project}/conversations"
    page = api.get(path, headers={"X-User-Id": "zoe"}).json
    assert ids_of(page) == hers
    assert {conversation["user_id"] for conversation in page["data"]} == {"zoe"}
    assert len(api.get(path).json["data"]) == 3
    answer = api.get(f"/api/v1/conversations/{hers[0]}", headers={"X-User-Id": "adam"})
    assert_problem(answer, 404, "conversation-not-found")


def test_the_sso_page_lists_the_users_own_conversations_and_needs_a_user(api: Api, project: str):
    hers = create(api, project, 1, X_User_Id="zoe")
    path = f"/projects/{project}/sso/conversations"
    assert ids_of(api.get(path, headers={"X-User-Id": "zoe"}).json) == hers
    assert_problem(api.get(path), 401, "not-signed-on")


@pytest.mark.parametrize("key", [None, "", "confab_unknown"])
def test_a_request_without_a_valid_key_is_refused(key: str | None, api: Api, project: str):
    answer = api.get(f"/projects/{project}/conversations", headers={"X-API-Key": key})
    assert_problem(answer, 401, "unauthenticated")


def test_a_key_for_another_project_opens_nothing_here(
    api: Api, target: Target, project: str, conversation: dict[str, Any]
):
    stranger = {"X-API-Key": target.keys.strangers}
    answer = api.get(f"/projects/{project}/conversations", headers=stranger)
    assert_problem(answer, 403, "other-project")
    answer = api.get(f"/api/v1/conversations/{conversation['id']}", headers=stranger)
    assert_problem(answer, 404, "conversation-not-found")
