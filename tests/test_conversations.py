"""The first API: `/api/v1/conversations`."""


from .clients import Api, assert_problem
from .conftest import PROJECT

CONVERSATIONS = "/api/v1/conversations"


def test_a_new_conversation_is_empty_and_has_the_documented_fields_in_order(api: Api):
    answer = api.post(CONVERSATIONS, {"project_id": PROJECT, "title": "Planning"})
    assert answer.status == 201
    assert list(answer.json) == [
        "id", "project_id", "title", "messages", "created_at", "updated_at",
    ]  # fmt: skip
    assert answer.headers["location"] == f"{CONVERSATIONS}/{answer.json['id']}"


def test_an_unknown_conversation_is_a_404(api: Api):
    assert_problem(api.get(f"{CONVERSATIONS}/{PROJECT}"), 404, "conversation-not-found")
