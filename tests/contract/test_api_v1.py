"""Tests `/api/v1/conversations`: conversations with their messages."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.clients import Api, assert_problem

CONVERSATIONS = "/api/v1/conversations"
FIELDS = [
    *("id", "project_id", "title", "messages", "created_at", "updated_at"),
    *("user_id", "key", "is_archived", "is_pinned", "is_held", "tags", "metadata"),
    "last_message_id",
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_new_conversation_has_the_documented_fields_in_order(api: Api, project: str):
    answer = api.post(CONVERSATIONS, {"project_id": project, "title": "Größe 👋"})
    assert answer.status == 201
    assert list(answer.json) == FIELDS
    assert answer.json["project_id"] == project
    assert answer.json["title"] == "Größe 👋"
    assert answer.json["messages"] == []
    assert TIME.fullmatch(answer.json["created_at"])
    assert answer.json["updated_at"] == answer.json["created_at"]
    assert answer.headers["location"] == f"{CONVERSATIONS}/{answer.json['id']}"


def test_a_created_conversation_reads_the_same(api: Api, conversation: dict[str, Any]):
    answer = api.get(f"{CONVERSATIONS}/{conversation['id']}")
    assert answer.status == 200
    assert answer.json == conversation


def test_a_trailing_slash_is_optional(api: Api, project: str):
    made = api.post(f"{CONVERSATIONS}/", {"project_id": project}).json
    assert api.get(f"{CONVERSATIONS}/{made['id']}/").json == made
    assert api.get(f"{CONVERSATIONS}/", project_id=project).json["conversations"] == [made]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json; charset=utf-8"])
def test_a_body_is_accepted_under_the_media_types_that_clients_send(
    content_type: str | None, api: Api, project: str
):
    answer = api.post(
        CONVERSATIONS, {"project_id": project}, headers={"Content-Type": content_type}
    )
    assert answer.status == 201


def test_a_page_is_of_one_project_with_the_newest_first(api: Api, project: str):
    made = [api.post(CONVERSATIONS, {"project_id": project}).json["id"] for _ in range(3)]
    page = api.get(CONVERSATIONS, project_id=project).json
    assert list(page) == ["conversations", "total", "skip", "limit"]
    assert [conversation["id"] for conversation in page["conversations"]] == made[::-1]
    assert (page["total"], page["skip"], page["limit"]) == (3, 0, 100)


def test_links_lead_to_the_next_page_and_back(api: Api, project: str):
    made = [api.post(CONVERSATIONS, {"project_id": project}).json["id"] for _ in range(3)]
    first = api.get(CONVERSATIONS, project_id=project, limit=2)
    second = api.get(linked(first.headers["link"], "next"))
    assert [conversation["id"] for conversation in second.json["conversations"]] == made[:1]
    assert api.get(linked(second.headers["link"], "prev")).json == first.json


def linked(header: str, relation: str) -> str:
    found = re.search(rf'<([^>]+)>; rel="{relation}"', header)
    assert found, header
    place = urlsplit(found[1])
    return f"{place.path}?{place.query}"


def test_messages_are_left_out_on_request(api: Api, conversation: dict[str, Any], project: str):
    path = f"{CONVERSATIONS}/{conversation['id']}"
    message = api.post(f"{path}/messages", {"role": "user", "content": "Hello"}).json
    assert api.get(path).json["messages"] == [message]
    assert api.get(path, include_messages="false").json["messages"] == []
    (listed,) = api.get(CONVERSATIONS, project_id=project).json["conversations"]
    assert listed["messages"] == [message]


def test_a_change_keeps_absent_fields_and_null_clears_a_field(
    api: Api, conversation: dict[str, Any]
):
    path = f"{CONVERSATIONS}/{conversation['id']}"
    assert api.patch(path, {"is_archived": True}).json["title"] == "Planning"
    assert api.patch(path, {"title": "  Better  "}).json["title"] == "Better"
    assert api.patch(path, {"title": None}).json["title"] is None


def test_a_deleted_conversation_does_not_exist(api: Api, conversation: dict[str, Any]):
    path = f"{CONVERSATIONS}/{conversation['id']}"
    answer = api.delete(path)
    assert (answer.status, answer.body) == (204, b"")
    assert_problem(api.get(path), 404, "conversation-not-found")
    assert_problem(api.delete(path), 404, "conversation-not-found")


@pytest.mark.parametrize("title", ["", "   ", "x" * 256, 7, "a\0b"])
def test_an_invalid_title_is_refused(title: object, api: Api, project: str):
    answer = api.post(CONVERSATIONS, {"project_id": project, "title": title})
    problem = assert_problem(answer, 422, "invalid")
    assert problem["errors"][0]["loc"] == ["body", "title"]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"skip": -1},
        {"project_id": "x"},
        {"page": 2},
        {"limit": [1, 2]},
    ],
    ids=str,
)
def test_a_query_that_is_invalid_is_refused(query: dict[str, Any], api: Api):
    problem = assert_problem(api.get(CONVERSATIONS, **query), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["query", *query]
