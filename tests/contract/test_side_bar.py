"""Tests what a side bar needs: keys, tags, flags, lists by activity, and the projects."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.support.clients import Answer, Api, assert_problem

from .conftest import Target

CONVERSATIONS = "/api/v1/conversations"
HELLO = {"role": "user", "content": "Hello"}


def create(api: Api, project: str, **fields: Any) -> dict[str, Any]:
    answer = api.post(CONVERSATIONS, {"project_id": project, **fields})
    assert answer.status == 201, answer
    return answer.json


def put(api: Api, path_key: str, project: str, **fields: Any) -> Answer:
    path = f"{CONVERSATIONS}/by-key/{quote(path_key, safe='')}"
    return api.request("PUT", path, {"project_id": project, **fields})


def ids_of(answer: Answer) -> list[str]:
    return [conversation["id"] for conversation in answer.json["conversations"]]


def linked(answer: Answer) -> dict[str, str]:
    """The targets of the Link header by their relation."""
    found = re.findall('<([^>]+)>; rel="([a-z]+)"', answer.headers.get("link", ""))
    return {relation: target for target, relation in found}


# What a conversation has


def test_a_conversation_is_created_with_all_that_it_has(api: Api, project: str):
    fields = {"title": "Größe", "key": "k", "tags": ["b", "a"], "metadata": {"ü": ["👋", None]}}
    made = create(api, project, **fields, messages=[HELLO, {"role": "tool", "content": "42"}])
    assert {name: made[name] for name in fields} == fields
    assert [message["content"] for message in made["messages"]] == ["Hello", "42"]
    assert made["last_message_id"] == made["messages"][1]["id"]
    assert (made["is_archived"], made["is_pinned"], made["is_held"]) == (False, False, False)
    assert made["user_id"] is None
    assert api.get(f"{CONVERSATIONS}/{made['id']}").json == made


def test_a_conversation_without_them_has_none(conversation: dict[str, Any]):
    assert (conversation["key"], conversation["tags"]) == (None, [])
    assert (conversation["metadata"], conversation["last_message_id"]) == (None, None)


def test_a_conversation_is_created_whole_or_not_at_all(api: Api, project: str):
    bad = {**HELLO, "parent_id": project}
    body = {"project_id": project, "key": "k", "tags": ["a"], "messages": [HELLO, bad]}
    assert_problem(api.post(CONVERSATIONS, body), 422, "invalid")
    assert api.get(CONVERSATIONS, project_id=project).json["total"] == 0
    create(api, project, key="k")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"is_pinned": True}, {"is_pinned": False}),
        ({"is_archived": True}, {"is_archived": False}),
        ({"is_held": True}, {"is_held": False}),
        ({"tags": ["a", "b"]}, {"tags": ["c"]}),
        ({"metadata": {"a": 1}}, {"metadata": {"b": {}}}),
        ({"metadata": {"a": 1}, "tags": ["a"]}, {"metadata": None, "tags": []}),
    ],
    ids=str,
)
def test_a_change_replaces_a_whole_value_and_no_other(
    api: Api, conversation: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
):
    path = f"{CONVERSATIONS}/{conversation['id']}"
    for changes in (first, second):
        changed = api.patch(path, changes)
        assert changed.status == 200
        updated_at = changed.json["updated_at"]
        assert changed.json == {**conversation, **changes, "updated_at": updated_at}
        assert api.get(path).json == changed.json


def test_tags_are_stripped_and_a_tag_twice_is_one(api: Api, project: str):
    assert create(api, project, tags=[" b", "a\n", "b", "ü" * 64])["tags"] == ["b", "a", "ü" * 64]


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": [" "]},
        {"tags": ["x" * 65]},
        {"tags": [str(number) for number in range(17)]},
        {"tags": ["a\0b"]},
        {"metadata": {"a": "é" * 8_189}},  # 16,386 bytes
        {"metadata": []},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_tags_and_metadata_that_are_invalid_are_refused(
    fields: dict[str, Any], api: Api, project: str, conversation: dict[str, Any]
):
    for answer in (
        api.post(CONVERSATIONS, {"project_id": project, **fields}),
        api.patch(f"{CONVERSATIONS}/{conversation['id']}", fields),
        put(api, "k", project, **fields),
    ):
        problem = assert_problem(answer, 422, "invalid")
        assert problem["errors"][0]["loc"][:2] == ["body", *fields]
    assert api.get(CONVERSATIONS, project_id=project).json["conversations"] == [conversation]


def test_metadata_of_16384_bytes_is_stored(api: Api, project: str):
    metadata = {"a": "é" * 8_188}
    assert create(api, project, metadata=metadata)["metadata"] == metadata


# Keys


def test_a_key_is_taken_once(api: Api, project: str):
    first = create(api, project, key="k")
    answer = api.post(CONVERSATIONS, {"project_id": project, "key": "k"})
    problem = assert_problem(answer, 409, "key-taken")
    assert problem["conversation_id"] == first["id"]
    api.delete(f"{CONVERSATIONS}/{first['id']}")
    assert create(api, project, key="k")["id"] != first["id"]


def test_by_key_one_is_created_and_then_answered_unchanged(api: Api, project: str):
    first = put(api, "k", project, title="Plans", tags=["a"], messages=[HELLO])
    assert first.status == 201
    assert first.headers["location"] == f"{CONVERSATIONS}/{first.json['id']}"
    second = put(api, "k", project, title="Other", messages=[HELLO, HELLO])
    assert (second.status, second.json) == (200, first.json)
    assert second.headers["etag"] == first.headers["etag"]
    assert api.get(CONVERSATIONS, project_id=project).json["total"] == 1
    assert_problem(put(api, "k", project, key="other"), 422, "invalid")


@pytest.mark.parametrize("key", ["my key", "Zoë 👋", "50%", "%41", "a/b", "a+b", "…", "x" * 255])
def test_a_key_may_be_any_text(key: str, api: Api, project: str):
    made = put(api, key, project)
    assert (made.status, made.json["key"]) == (201, key)
    assert put(api, key, project).json == made.json


def test_each_user_has_keys_of_their_own(api: Api, project: str):
    made = []
    for user in ("zoe", "adam", None):
        api.headers["X-User-Id"] = user
        made.append(put(api, "k", project))
        assert put(api, "k", project).json == made[-1].json
    assert [answer.status for answer in made] == [201] * 3
    assert [answer.json["user_id"] for answer in made] == ["zoe", "adam", None]


# Holds


def test_what_is_held_is_not_deleted(api: Api, project: str):
    held = create(api, project, messages=[HELLO])
    path = f"{CONVERSATIONS}/{held['id']}"
    api.patch(path, {"is_held": True})
    for target in (
        path,
        f"{path}/messages/{held['last_message_id']}",
        f"/projects/{project}/conversations/{held['id']}",
    ):
        assert_problem(api.delete(target), 409, "held")
    assert api.get(path).json["messages"] == held["messages"]
    api.patch(path, {"is_held": False})
    assert api.delete(path).status == 204


def test_a_user_cannot_hold(api: Api, project: str):
    api.headers["X-User-Id"] = "zoe"
    path = f"{CONVERSATIONS}/{create(api, project)['id']}"
    for is_held in (True, False):
        assert_problem(api.patch(path, {"is_held": is_held}), 403, "hold-not-allowed")
    assert api.get(path).json["is_held"] is False


# Lists


@pytest.fixture
def six(api: Api, project: str) -> list[str]:
    """The ids of six conversations, newest first."""
    tags = [["work"], ["work", "home"], ["home"], [], ["work", "home"], ["work"]]
    made = [create(api, project, tags=each)["id"] for each in tags]
    api.patch(f"{CONVERSATIONS}/{made[0]}", {"is_pinned": True})
    api.patch(f"{CONVERSATIONS}/{made[1]}", {"is_archived": True})
    api.post(f"{CONVERSATIONS}/{made[2]}/messages", HELLO)
    return made[::-1]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"sort": "activity"}, [3, 0, 1, 2, 4, 5]),
        ({"is_pinned": "true"}, [5]),
        ({"is_pinned": "false", "sort": "activity"}, [3, 0, 1, 2, 4]),
        ({"is_archived": "true"}, [4]),
        ({"is_archived": "false", "is_pinned": "false"}, [0, 1, 2, 3]),
        ({"tag": "work"}, [0, 1, 4, 5]),
        ({"tag": ["home", "work"]}, [1, 4]),
        ({"tag": "home", "sort": "activity"}, [3, 1, 4]),
        ({"tag": "home", "is_archived": "false"}, [1, 3]),
        ({"tag": "nothing"}, []),
    ],
    ids=str,
)
def test_a_filtered_list_is_paged_by_cursors_both_ways(
    api: Api, project: str, six: list[str], query: dict[str, Any], places: list[int]
):
    expected = [six[place] for place in places]
    assert ids_of(api.get(CONVERSATIONS, project_id=project, **query)) == expected
    answer = api.get(CONVERSATIONS, project_id=project, **query, limit=2)
    assert "prev" not in linked(answer)
    pages = [ids_of(answer)]
    while "next" in linked(answer):
        answer = api.get(linked(answer)["next"])
        pages.append(ids_of(answer))
    assert [id for page in pages for id in page] == expected
    while "prev" in linked(answer):
        pages.pop()
        answer = api.get(linked(answer)["prev"])
        assert ids_of(answer) == pages[-1]
    assert len(pages) == 1


def test_what_does_not_move_is_listed_once_while_others_move(
    api: Api, project: str, six: list[str]
):
    answer = api.get(CONVERSATIONS, project_id=project, sort="activity", limit=2)
    assert ids_of(answer) == [six[3], six[0]]
    for place in (0, 5):
        api.post(f"{CONVERSATIONS}/{six[place]}/messages", HELLO)
    seen = []
    while "next" in linked(answer):
        answer = api.get(linked(answer)["next"])
        seen += ids_of(answer)
    assert seen == [six[1], six[2], six[4]]


def test_a_cursor_is_of_one_list_and_excludes_skip(api: Api, project: str, six: list[str]):
    target = linked(api.get(CONVERSATIONS, project_id=project, sort="activity", limit=2))["next"]
    (cursor,) = parse_qs(urlsplit(target).query)["cursor"]
    assert api.get(CONVERSATIONS, project_id=project, sort="activity", cursor=cursor).status == 200
    for query in (
        {"project_id": project},
        {"sort": "activity"},
        {"project_id": project, "sort": "activity", "is_pinned": "false"},
        {"project_id": project, "sort": "activity", "tag": "work"},
    ):
        problem = assert_problem(api.get(CONVERSATIONS, **query, cursor=cursor), 422, "invalid")
        assert problem["errors"][0]["loc"] == ["query", "cursor"]
    assert_problem(api.get(f"{target}&skip=0"), 422, "invalid")
    assert_problem(api.get(CONVERSATIONS, cursor="unknown"), 422, "invalid")


@pytest.mark.parametrize(
    "query",
    [{"sort": "title"}, {"is_pinned": "maybe"}, {"tag": "x" * 65}, {"tag": ["x"] * 17}],
    ids=lambda query: str(query)[:40],
)
def test_a_filter_that_is_invalid_is_refused(query: dict[str, Any], api: Api):
    assert_problem(api.get(CONVERSATIONS, **query), 422, "invalid")


# Projects


def test_projects_are_paged_and_say_when_they_were_active(
    api: Api, project: str, conversation: dict[str, Any], target: Target
):
    path = f"{CONVERSATIONS}/{conversation['id']}"
    message = api.post(f"{path}/messages", HELLO).json
    api.patch(path, {"title": "Later", "is_archived": True})
    create(api, "0" * 8 + project[8:])
    seen: list[dict[str, Any]] = []
    answer = api.get("/api/v1/projects", limit=2)
    assert list(answer.json) == ["projects", "has_more", "project_id"]
    assert answer.json["project_id"] is None  # the key opens all
    while answer.json["has_more"]:
        assert len(answer.json["projects"]) == 2
        seen += answer.json["projects"]
        answer = api.get(linked(answer)["next"])
    assert "link" not in answer.headers
    seen += answer.json["projects"]
    ids = [it["id"] for it in seen]
    assert ids == sorted(set(ids))
    assert {project, "0" * 8 + project[8:]} <= set(ids)
    (own,) = [it for it in seen if it["id"] == project]
    assert list(own) == ["id", "last_active_at"]
    milliseconds = int(message["id"][:8] + message["id"][9:13], 16)
    told = datetime.fromisoformat(own["last_active_at"]).timestamp()
    assert round(told * 1000) == milliseconds
    stranger = {"X-API-Key": target.keys.strangers}
    assert api.get("/api/v1/projects", headers=stranger).json["projects"] == []
    assert_problem(api.get("/api/v1/projects", cursor="unknown"), 422, "invalid")
    assert_problem(api.get("/api/v1/projects", limit=1001), 422, "invalid")


def test_a_user_is_told_of_their_own_projects(api: Api, project: str):
    user = {"X-User-Id": f"user of {project}"}
    assert api.get("/api/v1/projects", headers=user).json["projects"] == []
    api.post(CONVERSATIONS, {"project_id": project}, headers=user)
    (told,) = api.get("/api/v1/projects", headers=user).json["projects"]
    assert told["id"] == project
