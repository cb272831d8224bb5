"""Tests validation errors: their place in the request, their wording and their length."""

from typing import Any

import pytest

from .support.clients import Api, assert_problem

PART = {"type": "text", "text": "Hello"}


def post(api: Api, conversation_id: str, body: Any) -> dict[str, Any]:
    answer = api.post(f"/api/v1/conversations/{conversation_id}/messages", body)
    return assert_problem(answer, 422, "invalid")


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"role": "user"}, {"body.content": "Field required"}),
        ([{"role": "user"}], {"body.0.content": "Field required"}),
        (7, {"body": "Input should be an object"}),
        ([7], {"body.0": "Input should be an object"}),
        ([], {"body": "List should have at least 1 item after validation, not 0"}),
        ({"role": "user", "content": 7}, {"body.content": "Input should be a valid string"}),
        ({"role": "user", "content": [PART, 7]}, {"body.content.1": "Input should be an object"}),
        (
            {"role": "user", "content": "\0"},
            {"body.content": "must not contain the NUL character (U+0000)"},
        ),
        (
            {"role": "robot", "content": "x", "one": 1},
            {
                "body.role": "Input should be 'system', 'user', 'assistant' or 'tool'",
                "body.one": "Extra inputs are not permitted",
            },
        ),
    ],
)
def test_an_error_has_its_place_in_the_json_that_was_sent(
    api: Api, conversation_id: str, body: Any, faults: dict[str, str]
):
    problem = post(api, conversation_id, body)
    told = {".".join(map(str, fault["loc"])): fault["msg"] for fault in problem["errors"]}
    assert told == faults
    place, message = next(iter(faults.items()))
    assert problem["detail"] == f"{place}: {message}."


def test_an_error_of_the_whole_query_has_the_query_as_its_place(api: Api, conversation_id: str):
    query = {"after": conversation_id, "before": conversation_id}
    answer = api.get(f"/api/v1/conversations/{conversation_id}/messages", **query)
    problem = assert_problem(answer, 422, "invalid")
    assert problem["detail"] == "query: after and before cannot be combined."


@pytest.mark.parametrize(
    "body",
    [
        {"role": "user", "content": [7] * 100_000},
        [{"role": "user", "content": 7}] * 101,
        {f"unknown {number}": 1 for number in range(100_000)},
    ],
    ids=["parts", "messages", "fields"],
)
def test_very_many_errors_have_a_short_answer(api: Api, conversation_id: str, body: Any):
    problem = post(api, conversation_id, body)
    assert len(str(problem)) < 1_000
