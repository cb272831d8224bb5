"""Tests search, as a client uses it."""

import re
from typing import Any

import pytest

from tests.support.clients import Api, assert_problem

CONVERSATIONS, SEARCH = "/api/v1/conversations", "/api/v1/search"


@pytest.fixture
def said(api: Api, project: str) -> list[dict[str, Any]]:
    """The messages of a conversation whose title is `Holiday in Zürich`."""
    body = {
        "project_id": project,
        "title": "Holiday in Zürich",
        "messages": [
            {"role": "user", "content": "Where is the café?"},
            {"role": "assistant", "content": [{"type": "text", "text": "Café au lait: 咖啡馆 🎉"}]},
        ],
    }
    messages: list[dict[str, Any]] = api.post(CONVERSATIONS, body).json["messages"]
    return messages


@pytest.mark.parametrize(
    ("q", "index", "highlighted"),
    [
        ("cafe where", 0, ["Where", "café"]),
        ("咖啡", 1, ["咖啡"]),
        ('"cafe au"', 1, ["Café au"]),
        ("cafe -where", 1, ["Café"]),
        ("lai*", 1, ["lait"]),
        ("🎉", 1, ["🎉"]),
    ],
)
def test_what_was_answered_is_found_at_once(
    api: Api, project: str, said: list[dict[str, Any]], q: str, index: int, highlighted: list[str]
):
    (result,) = api.get(SEARCH, q=q, project_id=project).json["results"]
    message = said[index]
    assert result["message"] == {name: message[name] for name in ("id", "role", "created_at")}
    assert result["conversation"]["title"] == "Holiday in Zürich"
    assert [result["snippet"][start:end] for start, end in result["highlights"]] == highlighted


def test_a_title_is_found(api: Api, project: str, said: list[dict[str, Any]]):
    (result,) = api.get(SEARCH, q="zurich", project_id=project).json["results"]
    assert (result["message"], result["snippet"]) == (None, "Holiday in Zürich")
    assert result["conversation"]["id"] == said[0]["conversation_id"]


def test_pages_follow_each_other(api: Api, project: str, said: list[dict[str, Any]]):
    query = {"q": "cafe", "project_id": project, "sort": "newest", "limit": 1}
    first = api.get(SEARCH, **query)
    assert first.json["has_more"]
    link = re.fullmatch('<([^>]*)>; rel="next"', first.headers["link"])
    assert link
    second = api.get(link[1])
    ids = [answer.json["results"][0]["message"]["id"] for answer in (first, second)]
    assert ids == [message["id"] for message in reversed(said)]
    assert not second.json["has_more"]


def test_what_is_deleted_is_not_found(api: Api, project: str, said: list[dict[str, Any]]):
    path = f"{CONVERSATIONS}/{said[0]['conversation_id']}"
    api.delete(f"{path}/messages/{said[0]['id']}")
    assert len(api.get(SEARCH, q="cafe", project_id=project).json["results"]) == 1
    api.delete(path)
    assert api.get(SEARCH, q="cafe", project_id=project).json["results"] == []


@pytest.mark.parametrize("q", ["", "  ", "x" * 301])
def test_an_empty_query_is_refused(api: Api, q: str):
    assert_problem(api.get(SEARCH, q=q), 422, "invalid")


@pytest.mark.parametrize("q", ['"', "NEAR(a b)", "a AND", "x:y", "(", "^a*", "-", "\\", "';--"])
def test_nothing_is_a_syntax_error(api: Api, q: str):
    assert api.get(SEARCH, q=q).status == 200
