"""Tests `/api/v1/chat` in a tree of messages: edited questions, and answers beside others."""

from typing import Any

import pytest

from db import conversations, messages
from db.engine.database import database
from db.messages import Draft
from db.scope import EVERYTHING

from .support.chats import Chat
from .support.clients import Answer, Api, assert_problem
from .support.followers import say
from .support.model_server import ModelServer
from .support.readers import dispatched
from .support.world import PROJECT

CHAT = "/api/v1/chat"
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def contents(conversation_id: str) -> list[object]:
    return [row.content for row in messages.page_for(EVERYTHING, conversation_id).rows]


def test_a_question_may_follow_any_message_and_the_model_is_sent_its_branch(
    chat: Chat, model: ModelServer, conversation_id: str
):
    first = chat("One").json
    chat("Two")
    edited = chat("Two, edited", parent_id=first["assistant_message"]["id"]).json
    other = chat("Another root", parent_id=None).json
    asked = [[message["content"] for message in it.body["messages"]] for it in model.asked]
    assert asked[2] == ["One", "Hello, world", "Two, edited"]
    assert asked[3] == ["Another root"]
    assert edited["user_message"]["parent_id"] == first["assistant_message"]["id"]
    assert other["user_message"]["parent_id"] is None
    assert other["assistant_message"]["parent_id"] == other["user_message"]["id"]
    leaf = conversations.find(EVERYTHING, conversation_id).last_message_id
    assert leaf == other["assistant_message"]["id"]


@pytest.fixture
def regenerate(api: Api, conversation_id: str) -> Chat:
    """`regenerate(id)` asks the model to answer a message once more."""

    def ask(message_id: str, **rest: Any) -> Answer:
        database.close()
        body = {"conversation_id": conversation_id, "parent_id": message_id}
        return api.post(CHAT, body, **rest)

    return ask


def test_an_answer_is_regenerated_beside_the_old_one(
    chat: Chat, regenerate: Chat, model: ModelServer, conversation_id: str
):
    first = chat("One").json
    chat("Two")
    second = regenerate(first["user_message"]["id"])
    assert second.status == 200
    assert second.json["user_message"] == first["user_message"]
    new = second.json["assistant_message"]
    assert new["id"] != first["assistant_message"]["id"]
    assert new["parent_id"] == first["user_message"]["id"]
    assert [message["content"] for message in model.asked[2].body["messages"]] == ["One"]
    shown = messages.page_for(EVERYTHING, conversation_id).rows
    assert [row.id for row in shown] == [first["user_message"]["id"], new["id"]]


def test_a_regenerated_answer_comes_as_events_without_the_question(
    chat: Chat, regenerate: Chat, model: ModelServer
):
    first = chat("One").json
    answer = regenerate(first["user_message"]["id"], headers={"Accept": "text/event-stream"})
    told = list(dispatched(answer.body))
    assert [event.event for event in told] == ["message", "delta", "done"]
    assert told[0].data["parent_id"] == first["user_message"]["id"]


def test_a_retry_of_a_regeneration_asks_no_model(chat: Chat, regenerate: Chat, model: ModelServer):
    question = chat("One").json["user_message"]["id"]
    first, later = regenerate(question, headers=KEY), regenerate(question, headers=KEY)
    assert later.body == first.body
    assert later.headers["idempotent-replayed"] == "true"
    assert len(model.asked) == 2


def test_a_tools_message_is_answered_too(regenerate: Chat, conversation_id: str):
    (row,) = messages.append(EVERYTHING, conversation_id, [Draft("tool", "42")])
    assert regenerate(row.id).json["assistant_message"]["parent_id"] == row.id


def test_a_result_without_its_call_is_no_question_to_a_model(
    regenerate: Chat, model: ModelServer, conversation_id: str
):
    (row,) = messages.append(EVERYTHING, conversation_id, [Draft("tool", "42")])
    problem = assert_problem(regenerate(row.id), 502, "model-failed")
    assert problem["detail"] == "There is no message that a model could be told."
    assert model.asked == []


@pytest.mark.parametrize("role", ["assistant", "system"])
def test_a_message_that_asks_nothing_is_not_answered(
    regenerate: Chat, model: ModelServer, conversation_id: str, role: str
):
    (row,) = messages.append(EVERYTHING, conversation_id, [Draft(role, "Hello")])
    problem = assert_problem(regenerate(row.id), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["body", "parent_id"]
    assert model.asked == []


def test_a_parent_of_another_conversation_is_refused(
    chat: Chat, regenerate: Chat, model: ModelServer, conversation_id: str
):
    (other,) = say(conversations.start(EVERYTHING, PROJECT).id, "Hello")
    for answer in (regenerate(other), chat("Hi", parent_id=other)):
        problem = assert_problem(answer, 422, "invalid")
        assert problem["errors"][0]["loc"] == ["body", "parent_id"]
    assert (model.asked, contents(conversation_id)) == ([], [])
