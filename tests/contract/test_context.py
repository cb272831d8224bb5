"""Tests what a model is told: of which messages, within which budget, and over `/api/v1/chat`."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.clients import Api, assert_problem

CONVERSATIONS = "/api/v1/conversations"


@pytest.fixture
def path(conversation: dict[str, Any]) -> str:
    return f"{CONVERSATIONS}/{conversation['id']}"


def say(api: Api, path: str, role: str, content: Any, **rest: Any) -> str:
    """Append a message and return its id."""
    body = {"role": role, "content": content, **rest}
    return api.post(f"{path}/messages", body).json["id"]


def test_a_context_has_the_active_branch_in_the_shape_of_chat_completions(api: Api, path: str):
    say(api, path, "system", "Be brief.")
    question = say(api, path, "user", [{"type": "text", "text": "Hello"}])
    say(api, path, "assistant", "Hi!")
    say(api, path, "assistant", "Hello you!", parent_id=question)
    answer = api.get(f"{path}/context")
    assert answer.status == 200
    assert list(answer.json) == ["messages", "tokens", "dropped"]
    assert answer.json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello you!"},
    ]
    assert 10 < answer.json["tokens"] < 40
    assert answer.json["dropped"] == 0
    assert api.get(f"{path}/context", leaf=question).json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]


def test_the_newest_messages_that_fit_are_told_beside_the_systems(api: Api, path: str):
    say(api, path, "system", "Be brief.")
    batch = [{"role": "user", "content": f"Number {number}"} for number in range(50)]
    api.post(f"{path}/messages", batch)
    found = api.get(f"{path}/context", max_tokens=60).json
    system, *others = [message["content"] for message in found["messages"]]
    assert system == "Be brief."
    assert others == [f"Number {number}" for number in range(50)][-len(others) :]
    assert found["dropped"] == 50 - len(others) > 0
    assert found["tokens"] <= 60
    least = api.get(f"{path}/context/", max_tokens=1).json
    assert [message["content"] for message in least["messages"]] == ["Be brief.", "Number 49"]


def test_a_call_and_its_results_are_told_together_or_not_at_all(api: Api, path: str):
    call = {"type": "tool_call", "id": "c1", "name": "clock", "arguments": {"zone": "UTC"}}
    say(api, path, "user", "What time is it?")
    say(api, path, "assistant", [call])
    function = {"name": "clock", "arguments": '{"zone":"UTC"}'}
    told = [
        {"role": "user", "content": "What time is it?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "Noon", "tool_call_id": "c1"},
    ]
    assert api.get(f"{path}/context").json["messages"] == told[:1]
    say(api, path, "tool", "Noon", metadata={"tool_call_id": "c1"})
    assert api.get(f"{path}/context").json["messages"] == told
    assert api.get(f"{path}/context", max_tokens=1).json["messages"] == told[1:]
    say(api, path, "user", "Thanks")
    least = api.get(f"{path}/context", max_tokens=10).json
    assert least["messages"] == [{"role": "user", "content": "Thanks"}]
    assert least["dropped"] == 3


def test_an_unknown_leaf_or_conversation_is_not_found(api: Api, path: str):
    assert_problem(api.get(f"{path}/context", leaf=uuid4()), 404, "message-not-found")
    unknown = f"{CONVERSATIONS}/{uuid4()}/context"
    assert_problem(api.get(unknown), 404, "conversation-not-found")


@pytest.mark.parametrize("query", [{"max_tokens": 0}, {"max_tokens": "x"}, {"leaf": "x"}, {"n": 1}])
def test_an_invalid_query_is_refused(api: Api, path: str, query: dict[str, Any]):
    assert_problem(api.get(f"{path}/context", **query), 422, "invalid")
