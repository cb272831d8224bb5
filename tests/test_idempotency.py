"""Tests Idempotency-Key: a POST that is repeated has its effect once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from db import api_keys, conversations, idempotency_keys, kept_answers, lists, trash
from db.clock import new_id
from db.engine.connect import Store
from db.engine.database import database
from db.errors import IdempotencyKeyReused
from db.idempotency_keys import Claim, Outcome
from db.messages import Draft
from db.models import IdempotencyKey, KeptAnswer, Message
from db.scope import EVERYTHING

from .support.clients import Answer as HttpAnswer
from .support.clients import Api, assert_problem
from .support.clock import Clock
from .support.world import PROJECT
from .support.writer import Writer

CONVERSATIONS = "/api/v1/conversations"
BODY = {"project_id": PROJECT, "title": "Once"}
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def create(api: Api, body: Any = BODY, **headers: str | None) -> HttpAnswer:
    return api.post(CONVERSATIONS, body, headers={**KEY, **headers})


def titles() -> list[str]:
    rows = lists.newest(EVERYTHING).rows
    database.close()
    return [str(row.title) for row in reversed(rows)]


def same(first: HttpAnswer, second: HttpAnswer) -> bool:
    """Whether `second` repeats `first`, apart from the request id."""
    changed = {"idempotent-replayed": "true", "x-request-id": second.headers["x-request-id"]}
    return second == first._replace(headers={**first.headers, **changed})


def test_a_retry_with_the_same_key_creates_once(api: Api):
    first, second = create(api), create(api)
    assert first.status == 201
    assert "idempotent-replayed" not in first.headers
    assert same(first, second)
    assert titles() == ["Once"]


def test_without_a_key_each_request_counts(api: Api):
    create(api)
    api.post(CONVERSATIONS, BODY)
    api.post(CONVERSATIONS, BODY)
    create(api, **{"Idempotency-Key": "another key"})
    assert len(titles()) == 4


def test_another_request_under_the_same_key_is_refused(api: Api):
    first = create(api)
    problem = create(api, {**BODY, "title": "Twice"})
    assert_problem(problem, 422, "idempotency-key-reused")
    chat = {"conversation_id": first.json["id"], "content": "Hello"}
    assert_problem(api.post("/api/v1/chat", chat, headers=KEY), 422, "idempotency-key-reused")
    assert titles() == ["Once"]


def test_a_key_is_bound_to_the_path_and_the_query(api: Api):
    ids = [api.post(CONVERSATIONS, BODY).json["id"] for _ in range(2)]
    path = f"/projects/{PROJECT}/conversations/{{}}/archive"
    assert api.post(path.format(ids[0]), headers=KEY).status == 200
    for other, query in ((ids[1], {}), (ids[0], {"is_archived": "false"})):
        answer = api.post(path.format(other), headers=KEY, **query)
        assert_problem(answer, 422, "idempotency-key-reused")


def test_callers_with_the_same_key_do_not_share_an_answer(api: Api):
    other_key, _ = api_keys.make()
    database.close()
    answers = [
        create(api),
        create(api, **{"X-API-Key": other_key}),
        create(api, **{"X-User-Id": "alice"}),
        create(api, **{"X-User-Id": "bob"}),
    ]
    assert len({answer.json["id"] for answer in answers}) == 4
    assert not any("idempotent-replayed" in answer.headers for answer in answers)


def test_callers_on_an_open_stage_share_their_keys(api: Api, configure: Callable[..., None]):
    configure(require_api_key="false")
    nobody = {"X-API-Key": None}
    assert same(create(api, **nobody), create(api, **nobody))


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_1_to_255_characters(api: Api, key: str):
    answer = create(api, **{"Idempotency-Key": key})
    assert_problem(answer, 422, "invalid")
    assert titles() == []


def test_an_error_leaves_the_key_free(api: Api):
    assert_problem(create(api, {"project_id": "x"}), 422, "invalid")
    path = f"{CONVERSATIONS}/{PROJECT}/messages"
    hello = {"role": "user", "content": "Hello"}
    answer = api.post(path, hello, headers=KEY)
    assert_problem(answer, 404, "conversation-not-found")
    assert create(api).status == 201


@pytest.mark.parametrize("verb", ["claim", "settle"])
def test_a_crash_stores_neither_the_work_nor_the_key(
    api: Api, monkeypatch: pytest.MonkeyPatch, verb: str
):
    with monkeypatch.context() as broken:

        def crash(*arguments: object) -> None:
            raise RuntimeError("crash")

        broken.setattr(idempotency_keys, verb, crash)
        assert_problem(create(api), 500, "internal")
    assert titles() == []
    assert IdempotencyKey.select().count() == 0
    database.close()
    assert "idempotent-replayed" not in create(api).headers
    assert titles() == ["Once"]


def test_a_key_is_forgotten_after_a_day(api: Api, clock: Clock):
    first = create(api)
    clock.move(timedelta(hours=23, minutes=59).total_seconds())
    assert same(first, create(api))
    clock.move(timedelta(minutes=2).total_seconds())
    later = create(api)
    assert later.status == 201
    assert later.json["id"] != first.json["id"]
    assert same(later, create(api))


def test_expired_keys_are_swept_a_few_at_a_time(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(idempotency_keys, "SWEEP_ROWS", 3)

    def claim(key: str) -> Outcome | None:
        return idempotency_keys.claim(Claim("caller", key, "fingerprint"))

    for number in range(7):
        clock.move(seconds=1)
        claim(f"old {number}")
    clock.move(idempotency_keys.SWEPT_SECONDS)
    left = []
    for number in range(3):
        claim(f"new {number}")
        left.append([key.key for key in IdempotencyKey.select().order_by(IdempotencyKey.key)])
    assert left == [
        ["new 0", "old 3", "old 4", "old 5", "old 6"],
        ["new 0", "new 1", "old 6"],
        ["new 0", "new 1", "new 2"],
    ]


def test_whoever_writes_sweeps_the_answers_that_are_kept_for_a_day(
    either_store: Store, clock: Clock
):
    for number in range(idempotency_keys.SWEEP_ROWS + 1):
        idempotency_keys.claim(Claim("caller", f"old {number}", "fingerprint"))
        said = [Draft("user", "Hi", id=new_id()), Draft("assistant", "Hello", id=new_id())]
        kept_answers.keep(EVERYTHING, PROJECT, str(said[1].id), said)
    trash.sweep()
    assert IdempotencyKey.select().count() == KeptAnswer.select().count() > 20
    clock.move(idempotency_keys.SWEPT_SECONDS + 1)
    assert trash.sweep()
    assert not trash.sweep()
    assert IdempotencyKey.select().count() == KeptAnswer.select().count() == 0


def test_a_key_is_given_back_also_if_the_clock_goes_back(clock: Clock):
    request = Claim("caller", "key", "fingerprint")
    idempotency_keys.reserve(request, 60)
    clock.move(seconds=-3600)
    idempotency_keys.give_back(request)
    assert idempotency_keys.reserve(request, 60) is None


def test_a_claim_for_another_request_is_refused():
    assert idempotency_keys.claim(Claim("caller", "key", "one")) is None
    with pytest.raises(IdempotencyKeyReused):
        idempotency_keys.claim(Claim("caller", "key", "two"))


def test_a_batch_is_appended_once(api: Api, conversation_id: str):
    path = f"{CONVERSATIONS}/{conversation_id}/messages"
    batch = [{"role": "user", "content": text} for text in ("Hello", "Are you there?")]
    assert same(api.post(path, batch, headers=KEY), api.post(path, batch, headers=KEY))
    assert Message.select().count() == 2


def test_one_message_and_a_batch_of_it_are_not_the_same(api: Api, conversation_id: str):
    path = f"{CONVERSATIONS}/{conversation_id}/messages"
    message = {"role": "user", "content": "Hello"}
    api.post(path, message, headers=KEY)
    assert_problem(api.post(path, [message], headers=KEY), 422, "idempotency-key-reused")


def test_a_piece_is_appended_once_and_answered_as_it_was(api: Api, conversation_id: str):
    answer = Writer(conversation_id)
    path = f"{CONVERSATIONS}/{conversation_id}/messages/{answer.id}/append"
    database.close()
    piece = {"offset": 0, "delta": "Hel"}
    first = api.post(path, piece, headers=KEY)
    answer.append_at(3, "lo", "completed")
    database.close()
    assert same(first, api.post(path, piece, headers=KEY))
    assert answer.text == ("Hello", "completed")


def test_a_late_piece_with_a_key_is_answered_as_without_one(
    api: Api, conversation_id: str, clock: Clock
):
    """The append finds the silent writer inside the transaction of the key."""
    answer = Writer(conversation_id)
    path = f"{CONVERSATIONS}/{conversation_id}/messages/{answer.id}/append"
    clock.move(seconds=61)
    database.close()
    late = api.post(path, {"offset": 0, "delta": "Hi"}, headers=KEY)
    assert_problem(late, 409, "stream-finished")
    retry = api.post(path, {"offset": 0, "delta": ""}, headers=KEY)
    assert (retry.status, retry.json["status"]) == (200, "incomplete")
    assert answer.text == ("", "incomplete")


@pytest.mark.parametrize(
    ("verb", "body", "undo"),
    [("archive", None, {"is_archived": False}), ("rename", {"title": "New"}, {"title": "Old"})],
)
def test_a_repeated_change_does_not_undo_what_came_after(
    api: Api, conversation_id: str, verb: str, body: Any, undo: dict[str, Any]
):
    path = f"/projects/{PROJECT}/conversations/{conversation_id}/{verb}"
    first = api.post(path, body, headers=KEY)
    conversations.change(EVERYTHING, conversation_id, **undo)
    changed = conversations.find(EVERYTHING, conversation_id)
    database.close()
    assert same(first, api.post(path, body, headers=KEY))
    assert conversations.find(EVERYTHING, conversation_id) == changed


def test_a_retry_gets_its_answer_after_the_conversation_was_deleted(api: Api):
    first = create(api)
    api.delete(f"{CONVERSATIONS}/{first.json['id']}")
    assert same(first, create(api))
    assert titles() == []


def test_a_chat_is_answered_once(api: Api, conversation_id: str):
    chat = {"conversation_id": conversation_id, "content": "Hello"}
    first = api.post("/api/v1/chat", chat, headers=KEY)
    assert first.status == 200
    assert same(first, api.post("/api/v1/chat", chat, headers=KEY))
    assert Message.select().count() == 2
