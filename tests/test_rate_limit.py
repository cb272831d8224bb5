"""Tests rate limits: who is told to wait, for how long, and who is not."""

from collections.abc import Callable

import pytest

from db import api_keys, user_tokens
from db.engine.database import database
from handlers.http import rate_limit

from .support.clients import Answer, Api, assert_problem

LIST = "/api/v1/conversations"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of the clock, which a test moves."""
    now = [1_000.0]
    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rate_limit, "_full_at", {})
    return now


@pytest.fixture
def limited(configure: Callable[..., None], now: list[float]) -> list[float]:
    configure(rate_limit=3)
    return now


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.headers["ratelimit"]


def test_a_caller_is_told_how_many_requests_may_follow(api: Api, limited: list[float]):
    answers = [api.get(LIST) for _ in range(4)]
    assert [told(answer) for answer in answers] == [
        (200, '"default";r=2;t=20'),
        (200, '"default";r=1;t=40'),
        (200, '"default";r=0;t=60'),
        (429, '"default";r=0;t=20'),
    ]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
    problem = assert_problem(answers[3], 429, "rate-limited")
    assert problem["detail"] == "Send at most 3 requests a minute: wait 20 s."
    assert answers[3].headers["retry-after"] == "20"
    assert "ratelimit" in answers[3].headers["access-control-expose-headers"].lower()


def test_who_waits_may_go_on_and_a_refusal_costs_nothing(api: Api, limited: list[float]):
    for _ in range(10):
        api.get(LIST)
    limited[0] += 19
    assert told(api.get(LIST)) == (429, '"default";r=0;t=1')
    limited[0] += 1
    assert api.get(LIST).status == 200
    assert api.get(LIST).status == 429
    limited[0] += 1_000
    assert told(api.get(LIST)) == (200, '"default";r=2;t=20')


def test_each_key_and_user_has_a_limit_of_its_own(api: Api, limited: list[float]):
    other, _ = api_keys.make()
    token, _ = user_tokens.make("bob", None, 3600)
    database.close()
    for headers in (
        {},
        {"X-User-Id": "alice"},
        {"X-API-Key": other},
        {"X-API-Key": None, "Authorization": f"Bearer {token}"},
    ):
        statuses = [api.get(LIST, headers=headers).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


def test_errors_count_and_tell_the_limit_too(api: Api, limited: list[float]):
    answers = [api.get(f"{LIST}/nonsense") for _ in range(4)]
    assert [answer.status for answer in answers] == [422, 422, 422, 429]
    assert told(answers[0]) == (422, '"default";r=2;t=20')


def test_the_dialect_of_openai_has_its_own_code(api: Api, limited: list[float]):
    for _ in range(3):
        api.get("/v1/conversations")
    answer = api.get("/v1/conversations")
    assert answer.json["error"]["code"] == "rate_limit_exceeded"
    assert answer.headers["retry-after"] == "20"


def test_health_is_never_limited(api: Api, limited: list[float]):
    answers = [api.get("/health") for _ in range(10)]
    assert {answer.status for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


def test_without_a_limit_nobody_is_told_of_one(api: Api, now: list[float]):
    answers = [api.get(LIST) for _ in range(10)]
    assert {answer.status for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers


def test_callers_that_are_quiet_are_forgotten(
    api: Api, limited: list[float], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rate_limit, "MAX_CALLERS", 5)
    for number in range(20):
        api.get(LIST, headers={"X-User-Id": str(number)})
        limited[0] += 30
    assert len(rate_limit._full_at) <= 5
