"""Tests the feed of changes and the trash, as a client uses them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.support.clients import Api, assert_problem

CONVERSATIONS, CHANGES, TRASH = "/api/v1/conversations", "/api/v1/changes", "/api/v1/trash"


@pytest.fixture
def path(conversation: dict[str, Any]) -> str:
    return f"{CONVERSATIONS}/{conversation['id']}"


def read(api: Api, project: str, after: str | None = None, **query: Any) -> dict[str, Any]:
    given = {"project_id": project, **query} | ({"after": after} if after else {})
    answer = api.get(CHANGES, **given)
    assert answer.status == 200, answer
    page: dict[str, Any] = answer.json
    assert list(page) == ["changes", "cursor", "has_more"]
    return page


def test_the_feed_tells_of_each_change_once(
    api: Api, conversation: dict[str, Any], path: str, project: str
):
    first = read(api, project)
    assert first["changes"] == [{"type": "conversation", "conversation": conversation}]
    assert read(api, project, first["cursor"])["changes"] == []
    api.post(f"{path}/messages", {"role": "user", "content": "Hello"})
    api.patch(path, {"title": "New"})
    second = read(api, project, first["cursor"])
    shown = api.get(path, include_messages="false").json
    assert second["changes"] == [{"type": "conversation", "conversation": shown}]
    assert shown["title"] == "New"
    api.delete(path)
    (gone,) = read(api, project, second["cursor"])["changes"]
    assert (gone["type"], gone["id"]) == ("deleted", conversation["id"])
    assert list(gone) == ["type", "id", "deleted_at"]


def test_the_feed_is_read_in_pages(api: Api, project: str):
    made = [api.post(CONVERSATIONS, {"project_id": project}).json["id"] for _ in range(5)]
    page = read(api, project, limit=2)
    seen = page["changes"]
    while page["has_more"]:
        page = read(api, project, page["cursor"], limit=2)
        seen += page["changes"]
    assert [change["conversation"]["id"] for change in seen] == made


def test_pieces_of_a_stream_are_no_changes(api: Api, path: str, project: str):
    draft = {"role": "assistant", "content": "", "status": "in_progress"}
    message = api.post(f"{path}/messages", draft).json["id"]
    cursor = read(api, project)["cursor"]
    api.post(f"{path}/messages/{message}/append", {"offset": 0, "delta": "Once"})
    assert read(api, project, cursor)["changes"] == []
    api.post(f"{path}/messages/{message}/append", {"offset": 4, "delta": "", "status": "completed"})
    assert len(read(api, project, cursor)["changes"]) == 1


def test_a_waiting_reader_is_told_soon(
    api: Api, path: str, project: str, connect: Callable[[], AbstractContextManager[Api]]
):
    cursor = read(api, project)["cursor"]

    def rename() -> None:
        time.sleep(0.3)
        with connect() as client:
            client.patch(path, {"title": "New"})

    with ThreadPoolExecutor(1) as pool:
        renaming = pool.submit(rename)
        page = read(api, project, cursor, wait=20)
        renaming.result()
    assert [change["conversation"]["title"] for change in page["changes"]] == ["New"]


def test_a_wait_in_which_nothing_happens_ends_with_no_changes(api: Api, path: str, project: str):
    cursor = read(api, project)["cursor"]
    page = read(api, project, cursor, wait=0.2)
    assert (page["changes"], page["has_more"]) == ([], False)


@pytest.mark.parametrize("cursor", ["x", "!", "AAAA", "of another project"])
def test_a_cursor_that_is_none_of_this_feed_is_refused(api: Api, project: str, cursor: str):
    if cursor == "of another project":
        cursor = read(api, "0f0e0d0c-0b0a-4908-8706-050403020100")["cursor"]
    answer = api.get(CHANGES, project_id=project, after=cursor)
    problem = assert_problem(answer, 422, "invalid")
    assert problem["errors"][0]["loc"] == ["query", "after"]


def test_a_deleted_conversation_is_in_the_trash_and_can_be_restored(
    api: Api, conversation: dict[str, Any], path: str, project: str
):
    message = api.post(f"{path}/messages", {"role": "user", "content": "Hello"}).json
    api.delete(path)
    page = api.get(TRASH, project_id=project).json
    assert list(page) == ["conversations", "has_more"]
    (row,) = page["conversations"]
    assert row["id"] == conversation["id"]
    assert list(row)[-2:] == ["deleted_at", "purge_at"]
    assert row["purge_at"] > row["deleted_at"]
    assert row["messages"] == []
    assert_problem(api.get(path), 404, "conversation-not-found")
    restored = api.post(f"{TRASH}/{conversation['id']}/restore")
    assert restored.status == 200
    assert restored.json["messages"] == [message]
    assert restored.json == api.get(path).json
    assert restored.headers["etag"] == api.get(path).headers["etag"]
    assert api.get(TRASH, project_id=project).json["conversations"] == []
    again = api.post(f"{TRASH}/{conversation['id']}/restore")
    assert_problem(again, 404, "conversation-not-found")


def test_a_conversation_of_the_second_api_goes_into_the_trash_too(
    api: Api, conversation: dict[str, Any], project: str
):
    api.delete(f"/projects/{project}/conversations/{conversation['id']}")
    assert api.get(f"/projects/{project}/conversations").json["data"] == []
    found = api.get(TRASH, project_id=project).json["conversations"]
    assert [row["id"] for row in found] == [conversation["id"]]


def test_what_is_purged_is_gone_for_good(
    api: Api, conversation: dict[str, Any], path: str, project: str
):
    api.post(f"{path}/messages", [{"role": "user", "content": "Hello"}] * 3)
    place = f"{TRASH}/{conversation['id']}"
    assert_problem(api.delete(place), 404, "conversation-not-found")  # it is not in the trash
    api.delete(path)
    receipt = api.delete(place)
    assert receipt.status == 200
    assert list(receipt.json) == ["id", "messages", "purged_at"]
    assert (receipt.json["id"], receipt.json["messages"]) == (conversation["id"], 3)
    for answer in (api.delete(place), api.post(f"{place}/restore"), api.get(path)):
        assert_problem(answer, 404, "conversation-not-found")


def test_the_trash_is_paged_by_its_links(api: Api, project: str):
    made = [api.post(CONVERSATIONS, {"project_id": project}).json["id"] for _ in range(3)]
    for id in made:
        api.delete(f"{CONVERSATIONS}/{id}")
    first = api.get(TRASH, project_id=project, limit=2)
    assert first.json["has_more"]
    place = first.headers["link"].split(">")[0].removeprefix("<")
    second = api.get(place)
    seen = [row["id"] for row in first.json["conversations"] + second.json["conversations"]]
    assert sorted(seen) == made
    assert not second.json["has_more"]
    assert "link" not in second.headers


def test_a_key_that_is_taken_meanwhile_keeps_its_owner_from_being_restored(api: Api, project: str):
    body = {"project_id": project, "key": "mine"}
    gone = api.post(CONVERSATIONS, body).json["id"]
    api.delete(f"{CONVERSATIONS}/{gone}")
    owner = api.post(CONVERSATIONS, body).json["id"]
    problem = assert_problem(api.post(f"{TRASH}/{gone}/restore"), 409, "key-taken")
    assert problem["conversation_id"] == owner
