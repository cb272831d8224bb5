"""Tests branches: edited questions, other answers, switching, forks, and what readers are told."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.clients import Api, assert_problem
from tests.support.readers import Reader, dispatched

CONVERSATIONS = "/api/v1/conversations"


@pytest.fixture
def path(conversation: dict[str, Any]) -> str:
    return f"{CONVERSATIONS}/{conversation['id']}"


def say(api: Api, path: str, content: str, **rest: Any) -> str:
    """Append a message and return its id."""
    body = {"role": "user", "content": content, **rest}
    return api.post(f"{path}/messages", body).json["id"]


def shown(api: Api, path: str, **query: Any) -> list[str]:
    """The contents that a conversation and its messages show, which must agree."""
    whole = api.get(path, **query).json
    paged = api.get(f"{path}/messages", **query).json
    assert paged["messages"] == whole["messages"]
    return [message["content"] for message in whole["messages"]]


@pytest.fixture
def tree(api: Api, path: str) -> dict[str, str]:
    """The ids of a conversation's messages by their contents: a, b, c; and beside b: d, e."""
    ids = {name: say(api, path, name) for name in "abc"}
    ids["d"] = say(api, path, "d", parent_id=ids["a"])
    ids["e"] = say(api, path, "e")
    return ids


def test_a_message_follows_the_active_leaf_a_message_or_none(
    api: Api, path: str, tree: dict[str, str]
):
    assert shown(api, path) == ["a", "d", "e"]
    say(api, path, "f", parent_id=tree["c"])
    assert shown(api, path) == ["a", "b", "c", "f"]
    leaf = say(api, path, "g", parent_id=None)
    assert shown(api, path) == ["g"]
    assert api.get(path).json["last_message_id"] == leaf


def test_every_branch_can_be_read(api: Api, path: str, tree: dict[str, str]):
    assert shown(api, path, branch="all") == ["a", "b", "c", "d", "e"]
    assert shown(api, path, branch=tree["c"]) == ["a", "b", "c"]
    assert shown(api, path, branch=tree["d"]) == ["a", "d"]
    every = api.get(path, branch="all").json["messages"]
    names = {id: name for name, id in tree.items()} | {None: None}
    parents = {message["content"]: names[message["parent_id"]] for message in every}
    assert parents == {"a": None, "b": "a", "c": "b", "d": "a", "e": "d"}
    assert api.get(path).json["last_message_id"] == tree["e"]


@pytest.mark.parametrize("branch", [{}, {"branch": "c"}, {"branch": "all"}], ids=str)
def test_cursors_lead_through_a_branch_both_ways(
    api: Api, path: str, tree: dict[str, str], branch: dict[str, str]
):
    query = {name: tree.get(value, value) for name, value in branch.items()}
    names = {"": "ade", "c": "abc", "all": "abcde"}[branch.get("branch", "")]
    messages = f"{path}/messages"
    first = api.get(messages, **query, limit=2).json
    assert [message["id"] for message in first["messages"]] == [tree[name] for name in names[:2]]
    assert first["has_more"]
    rest = api.get(messages, **query, after=first["last_id"]).json
    assert [message["content"] for message in rest["messages"]] == list(names[2:])
    assert not rest["has_more"]
    every = api.get(path, **query).json["messages"]
    assert first["messages"] + rest["messages"] == every
    back = api.get(messages, **query, before=rest["first_id"], order="asc").json
    assert back["messages"] == first["messages"]
    newest = api.get(messages, **query, order="desc", limit=1).json
    assert newest["messages"] == every[-1:]


def test_a_switch_shows_another_branch_and_is_where_the_next_message_goes(
    api: Api, path: str, tree: dict[str, str]
):
    before = api.get(path)
    switched = api.patch(path, {"last_message_id": tree["b"]})
    assert (switched.status, switched.json["last_message_id"]) == (200, tree["b"])
    assert [message["content"] for message in switched.json["messages"]] == ["a", "b"]
    assert switched.headers["etag"] != before.headers["etag"]
    assert shown(api, path) == ["a", "b"]
    say(api, path, "f")
    assert shown(api, path) == ["a", "b", "f"]
    assert shown(api, path, branch=tree["c"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("gone", "left"),
    [("a", "de"), ("d", "ae"), ("e", "ad"), ("b", "ade"), ("c", "ade"), ("de", "a"), ("ed", "a")],
)
def test_the_children_of_a_deleted_message_take_its_parent(
    api: Api, path: str, tree: dict[str, str], gone: str, left: str
):
    for name in gone:
        assert api.delete(f"{path}/messages/{tree[name]}").status == 204
    assert shown(api, path) == list(left)
    assert api.get(path).json["last_message_id"] == tree[left[-1]]
    if "c" not in gone:
        assert shown(api, path, branch=tree["c"]) == [name for name in "abc" if name not in gone]


def test_when_the_last_root_of_a_branch_is_deleted_the_newest_message_is_shown(
    api: Api, path: str, tree: dict[str, str]
):
    root = say(api, path, "f", parent_id=None)
    api.delete(f"{path}/messages/{root}")
    assert shown(api, path) == ["a", "d", "e"]
    for name in "abcde":
        api.delete(f"{path}/messages/{tree[name]}")
    assert (shown(api, path), api.get(path).json["last_message_id"]) == ([], None)


def test_each_message_of_a_batch_follows_the_one_before_it(
    api: Api, path: str, tree: dict[str, str]
):
    batch = [
        {"role": "user", "content": "1", "parent_id": tree["b"]},
        {"role": "user", "content": "2"},
        {"role": "user", "content": "3", "parent_id": None},
        {"role": "user", "content": "4"},
    ]
    made = api.post(f"{path}/messages", batch).json
    ids = [message["id"] for message in made]
    assert [message["parent_id"] for message in made] == [tree["b"], ids[0], None, ids[2]]
    assert shown(api, path) == ["3", "4"]
    assert shown(api, path, branch=ids[1]) == ["a", "b", "1", "2"]


def test_a_message_of_another_conversation_is_no_parent_leaf_or_branch(
    api: Api, path: str, project: str, tree: dict[str, str]
):
    made = api.post(CONVERSATIONS, {"project_id": project}).json
    elsewhere = say(api, f"{CONVERSATIONS}/{made['id']}", "elsewhere")
    before = api.get(path).json
    for id in (elsewhere, str(uuid4())):
        body = {"role": "user", "content": "x", "parent_id": id}
        for answer, field in (
            (api.post(f"{path}/messages", body), "parent_id"),
            (api.post(f"{path}/messages", [{**body, "parent_id": None}, body]), "parent_id"),
            (api.patch(path, {"last_message_id": id}), "last_message_id"),
        ):
            problem = assert_problem(answer, 422, "invalid")
            assert problem["errors"][0]["loc"][-1] == field
        for answer in (
            api.get(path, branch=id),
            api.get(f"{path}/messages", branch=id),
            api.post(f"{path}/fork", {"message_id": id}),
        ):
            assert_problem(answer, 404, "message-not-found")
    assert_problem(api.patch(path, {"last_message_id": None}), 422, "invalid")
    assert_problem(api.get(path, branch="some"), 422, "invalid")
    assert api.get(path).json == before


# Chat


def test_a_question_is_edited_and_sent_again(api: Api, path: str, conversation: dict[str, Any]):
    chat = {"conversation_id": conversation["id"]}
    first = api.post("/api/v1/chat", {**chat, "content": "Hello"}).json
    edited = {**chat, "content": "Hello you", "parent_id": None}
    second = api.post("/api/v1/chat", edited).json
    assert second["user_message"]["parent_id"] is None
    assert second["assistant_message"]["parent_id"] == second["user_message"]["id"]
    assert api.get(path).json["messages"] == list(second.values())
    old = api.get(path, branch=first["assistant_message"]["id"]).json["messages"]
    assert old == list(first.values())


def test_an_answer_is_regenerated_beside_the_old_one(
    api: Api, path: str, conversation: dict[str, Any]
):
    chat = {"conversation_id": conversation["id"]}
    first = api.post("/api/v1/chat", {**chat, "content": "Hello"}).json
    question = first["user_message"]
    second = api.post("/api/v1/chat", {**chat, "parent_id": question["id"]})
    assert second.status == 200
    assert second.json["user_message"] == question
    assert second.json["assistant_message"]["parent_id"] == question["id"]
    assert api.get(path).json["messages"] == list(second.json.values())
    every = api.get(path, branch="all").json["messages"]
    assert every == [*first.values(), second.json["assistant_message"]]
    for body in ({}, {"parent_id": None}, {"parent_id": first["assistant_message"]["id"]}):
        assert_problem(api.post("/api/v1/chat", {**chat, **body}), 422, "invalid")


# Forks


def test_a_fork_without_a_body_copies_the_active_branch(
    api: Api, path: str, conversation: dict[str, Any], tree: dict[str, str]
):
    api.patch(path, {"tags": ["work"], "metadata": {"n": 1}, "is_pinned": True})
    answer = api.post(f"{path}/fork")
    assert answer.status == 201
    fork = answer.json
    assert answer.headers["location"] == f"{CONVERSATIONS}/{fork['id']}"
    assert (fork["title"], fork["tags"], fork["is_pinned"]) == ("Planning", ["work"], False)
    forked_from = {"conversation_id": conversation["id"], "message_id": tree["e"]}
    assert fork["metadata"] == {"n": 1, "forked_from": forked_from}
    ids = [message["id"] for message in fork["messages"]]
    assert [message["content"] for message in fork["messages"]] == ["a", "d", "e"]
    assert [message["parent_id"] for message in fork["messages"]] == [None, *ids[:-1]]
    assert fork["last_message_id"] == ids[-1]
    assert not set(ids) & set(tree.values())
    times = [message["created_at"] for message in api.get(path).json["messages"]]
    assert [message["created_at"] for message in fork["messages"]] == times
    assert api.get(answer.headers["location"]).json == fork


def test_a_fork_may_end_anywhere_and_have_another_title_and_a_key(
    api: Api, path: str, tree: dict[str, str]
):
    body = {"message_id": tree["b"], "title": "Other", "key": "fork"}
    fork = api.post(f"{path}/fork", body).json
    assert [message["content"] for message in fork["messages"]] == ["a", "b"]
    assert (fork["title"], fork["key"]) == ("Other", "fork")
    problem = assert_problem(api.post(f"{path}/fork", body), 409, "key-taken")
    assert problem["conversation_id"] == fork["id"]
    before = api.get(path).json
    say(api, f"{CONVERSATIONS}/{fork['id']}", "only in the fork")
    assert api.get(path).json == before


def test_an_empty_conversation_can_be_forked(api: Api, path: str, conversation: dict[str, Any]):
    fork = api.post(f"{path}/fork", {}).json
    assert (fork["messages"], fork["last_message_id"]) == ([], None)
    forked_from = {"conversation_id": conversation["id"], "message_id": None}
    assert fork["metadata"] == {"forked_from": forked_from}


# Events


def test_a_reader_of_events_knows_the_tree_and_the_active_leaf(
    api: Api, path: str, tree: dict[str, str]
):
    reader = Reader()

    def catch_up() -> list[str]:
        since = {"Last-Event-ID": str(reader.last_event_id)}
        return [
            event.event for event in reader.receive(api.get(f"{path}/events", headers=since).body)
        ]

    def assert_in_step() -> None:
        stored = api.get(path, branch="all").json
        told = {message["id"]: message["parent_id"] for message in stored["messages"]}
        assert reader.parents == told
        assert reader.leaf_id == stored["last_message_id"]

    assert catch_up() == ["message"] * 5
    assert_in_step()
    api.patch(path, {"last_message_id": tree["b"], "is_pinned": True, "tags": ["work"]})
    assert catch_up() == ["conversation"]
    assert reader.conversation == {
        "id": reader.conversation["id"],
        "title": "Planning",
        "is_archived": False,
        "is_pinned": True,
        "tags": ["work"],
        "last_message_id": tree["b"],
    }
    assert_in_step()
    say(api, path, "f")
    assert catch_up() == ["message"]
    assert_in_step()
    for name in "abd":
        api.delete(f"{path}/messages/{tree[name]}")
        kinds = catch_up()
        assert kinds[0] == "deleted"
        assert_in_step()


def test_a_deletion_tells_the_new_parent(api: Api, path: str, tree: dict[str, str]):
    api.delete(f"{path}/messages/{tree['d']}")
    told = [event.data for event in dispatched(api.get(f"{path}/events").body)]
    assert {"message_id": tree["d"], "parent_id": tree["a"]} in told
