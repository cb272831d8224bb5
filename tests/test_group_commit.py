"""Tests group commit: several requests share one commit, and each gets its own answer."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import StringIO
from typing import Any

import pytest
from chalice.config import Config

from app import app
from db import conversations, lists, messages
from db.clock import new_id
from db.engine.database import database
from db.engine.group_commit import Group
from db.engine.sqlite import SqliteStore
from db.errors import ConversationNotFound, StalePrecondition, Unavailable
from db.messages import Draft
from db.scope import EVERYTHING
from handlers.http import metrics
from handlers.http.logs import log
from server.gateway import Gateway, GatewayRequest, GatewayResponse
from server.writes import Writes

from .support.clients import Answer, assert_problem, in_lower_case
from .support.world import PROJECT, dump

CONVERSATIONS = "/api/v1/conversations"


@pytest.fixture
def group(store: SqliteStore) -> Iterator[Group]:
    group = Group(store)
    assert group.begin()
    yield group
    group.end()
    database.close()


def start(title: str) -> Any:
    return conversations.start(EVERYTHING, PROJECT, title)


def titles(store: SqliteStore) -> list[str]:
    """Return the titles that another connection sees."""
    with closing(sqlite3.connect(store.place)) as other:
        return [title for (title,) in other.execute("SELECT title FROM conversation ORDER BY id")]


def test_nothing_is_stored_before_the_commit_and_all_of_it_after(store: SqliteStore, group: Group):
    for title in ("one", "two", "three"):
        assert group.run(lambda title=title: start(title))[1]
    assert titles(store) == []
    group.commit()
    assert titles(store) == ["one", "two", "three"]


def test_a_request_that_writes_nothing_does_not_depend_on_the_commit(group: Group):
    assert group.run(lambda: lists.newest(EVERYTHING))[1] is False
    with pytest.raises(ConversationNotFound):
        group.run(lambda: conversations.find(EVERYTHING, PROJECT))


def test_a_write_that_fails_undoes_only_itself(store: SqliteStore, group: Group):
    first, _ = group.run(lambda: start("first"))
    group.run(lambda: messages.append(EVERYTHING, first.id, [Draft("user", "kept")]))
    bad = Draft("user", [{"not JSON": 1j}])
    with pytest.raises(TypeError):
        group.run(lambda: messages.append(EVERYTHING, first.id, [Draft("user", "lost"), bad]))
    with pytest.raises(StalePrecondition):
        group.run(lambda: conversations.change(EVERYTHING, first.id, lambda _: False, title="x"))
    group.run(lambda: start("last"))
    group.commit()
    assert titles(store) == ["first", "last"]
    assert [row.content for row in messages.page_for(EVERYTHING, first.id).rows] == ["kept"]


def test_a_group_that_is_not_committed_leaves_nothing(store: SqliteStore):
    before = dump()
    group = Group(store)
    assert group.begin()
    group.run(lambda: start("lost"))
    group.end()
    assert dump() == before
    start("later")
    assert titles(store) == ["later"]


def test_a_group_that_sqlite_rolled_back_fails_and_stores_nothing_more(
    store: SqliteStore, group: Group
):
    group.run(lambda: start("lost"))
    store.connection().execute("ROLLBACK")  # as SQLite does when the disk is full
    with pytest.raises(Unavailable):
        group.run(lambda: start("would be committed alone"))
    with pytest.raises(Unavailable):
        group.commit()
    assert titles(store) == []


@pytest.mark.parametrize("wait", [False, True])
def test_a_group_does_not_begin_while_another_process_writes(store: SqliteStore, wait: bool):
    store.busy_timeout = 20
    store.pragma("busy_timeout", 20)
    with closing(sqlite3.connect(store.place)) as other:
        other.execute("BEGIN IMMEDIATE")
        if wait:
            with pytest.raises(Unavailable, match="locked"):
                Group(store).begin(time.monotonic() + 0.02)
        else:
            assert Group(store).begin() is False
    assert Group(store).begin()
    store.group.end()  # type: ignore[union-attr]
    assert store.pragma("busy_timeout") == 20


def test_a_group_does_not_begin_while_another_thread_writes(store: SqliteStore):
    with store.writer, ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: Group(store).begin()).result() is False


def test_a_silent_writers_message_is_finished_in_the_group(group: Group, configure: Any):
    row, _ = group.run(lambda: start("x"))
    draft = Draft("assistant", "Hel", "in_progress")
    (message,), _ = group.run(lambda: messages.append(EVERYTHING, row.id, [draft]))
    configure(stream_timeout=1e-6)
    found, _ = group.run(lambda: messages.find(EVERYTHING, row.id, message.id))
    assert (found.content, found.status) == ("Hel", "incomplete")
    group.commit()
    assert messages.find(EVERYTHING, row.id, message.id).status == "incomplete"


# A batch of requests that arrive at the same moment


class Batch:
    """Requests that the loop finds in one turn, without sockets."""

    def __init__(self, gateway: Gateway) -> None:
        self.writes = Writes(gateway, pytest.fail)

    def send(self, *requests: GatewayRequest) -> list[Answer]:
        asking = [Asking(request) for request in requests]
        answered = self.writes.answer(asking)  # type: ignore[arg-type]
        assert answered is not None
        by_connection = {id(connection): response for connection, response in answered}
        return [answer_of(by_connection[id(each)]) for each in asking]


class Asking:
    """The part of a connection that the loop needs to answer its request."""

    def __init__(self, request: GatewayRequest) -> None:
        self.request = request


def answer_of(response: GatewayResponse) -> Answer:
    return Answer(response.status, in_lower_case(dict(response.headers)), response.body)


def post(path: str, body: Any, **headers: str) -> GatewayRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"content-type": "application/json", **named}
    several = {name: [value] for name, value in sent.items()}
    return GatewayRequest("POST", path, several, json.dumps(body).encode())


def create(title: str, **headers: str) -> GatewayRequest:
    return post(CONVERSATIONS, {"project_id": PROJECT, "title": title}, **headers)


@pytest.fixture
def batch(configure: Callable[..., None]) -> Iterator[Batch]:
    configure(require_api_key="false")
    batch = Batch(Gateway(app, Config()))
    yield batch
    database.close()


def patch(id: str, title: str, version: str) -> GatewayRequest:
    body = json.dumps({"title": title}).encode()
    headers = {"content-type": ["application/json"], "if-match": [version]}
    return GatewayRequest("PATCH", f"{CONVERSATIONS}/{id}", headers, body)


def fail(batch: Batch, id: str, monkeypatch: pytest.MonkeyPatch, how: str) -> GatewayRequest:
    """Return a request that fails in the way that `how` names."""
    if how == "a crash of the handler":
        view = app.routes[f"{CONVERSATIONS}/{{conversation_id}}/messages"]["POST"].view_function
        function = view.endpoint.function

        def crash(caller: Any, conversation_id: str, body: Any) -> None:
            function(caller, conversation_id, body)
            raise RuntimeError("crash")

        monkeypatch.setattr(view.endpoint, "function", crash)
        # With a key, the handler and its write share one transaction.
        message = {"role": "user", "content": "lost"}
        return post(f"{CONVERSATIONS}/{id}/messages", message, idempotency_key="k")
    if how == "a constraint":
        ids = iter([new_id(), id, new_id()])  # for the conversations before, this one, and after
        monkeypatch.setattr(conversations, "new_id", lambda: next(ids))
        return create("lost")
    return {
        "validation": post(CONVERSATIONS, {"project_id": "x"}),
        "not found": post(f"{CONVERSATIONS}/{PROJECT}/messages", {"role": "user", "content": "x"}),
        "a precondition": patch(id, "lost", '"17"'),
        "a reused key": create("lost", idempotency_key="used"),
    }[how]


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("validation", 422),
        ("not found", 404),
        ("a precondition", 412),
        ("a reused key", 422),
        ("a constraint", 500),
        ("a crash of the handler", 500),
    ],
)
def test_a_request_that_fails_does_not_affect_the_others(
    batch: Batch, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, how: str, status: int
):
    (first,) = batch.send(create("first", idempotency_key="used"))
    failing = fail(batch, first.json["id"], monkeypatch, how)
    answers = batch.send(create("before"), failing, create("after"))
    assert [answer.status for answer in answers] == [201, status, 201]
    assert titles(store) == ["first", "before", "after"]
    assert messages.page_for(EVERYTHING, first.json["id"]).rows == []


def test_copies_of_a_request_in_one_batch_have_one_effect(batch: Batch, store: SqliteStore):
    answers = batch.send(*[create("once", idempotency_key="k")] * 5)
    assert {answer.body for answer in answers} == {answers[0].body}
    assert ["idempotent-replayed" in answer.headers for answer in answers] == [False] + [True] * 4
    assert titles(store) == ["once"]


def test_of_two_changes_with_one_etag_in_a_batch_one_is_refused(batch: Batch):
    (made,) = batch.send(create("first"))
    tag, id = made.headers["etag"], made.json["id"]
    answers = batch.send(patch(id, "second", tag), patch(id, "third", tag))
    assert [answer.status for answer in answers] == [200, 412]


def test_pieces_of_one_stream_in_a_batch_are_appended_in_order(batch: Batch):
    (made,) = batch.send(create("x"))
    path = f"{CONVERSATIONS}/{made.json['id']}/messages"
    (opened,) = batch.send(
        post(path, {"role": "assistant", "content": "", "status": "in_progress"})
    )
    piece = f"{path}/{opened.json['id']}/append"
    answers = batch.send(
        post(piece, {"offset": 0, "delta": "Hel"}),
        post(piece, {"offset": 0, "delta": "Hel"}),
        post(piece, {"offset": 2, "delta": "x"}),
        post(piece, {"offset": 3, "delta": "lo", "status": "completed"}),
    )
    assert [answer.status for answer in answers] == [200, 200, 409, 200]
    assert messages.find(EVERYTHING, made.json["id"], opened.json["id"]).content == "Hello"


def test_if_the_commit_fails_all_writers_get_a_503_and_nothing_is_stored(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
):
    batch.send(create("there"))
    before = dump()

    def full(group: Group) -> None:
        group.end()
        raise Unavailable("database or disk is full")

    with monkeypatch.context() as failing:
        failing.setattr(Group, "commit", full)
        lost, invalid, also_lost = batch.send(
            create("lost", idempotency_key="k"), post(CONVERSATIONS, {}), create("lost, too")
        )
    for answer in (lost, also_lost):
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["access-control-allow-origin"] == "*"
    assert_problem(invalid, 422, "invalid")
    assert dump() == before
    (again,) = batch.send(create("lost", idempotency_key="k"))
    assert (again.status, "idempotent-replayed" in again.headers) == (201, False)


def test_what_is_noted_of_a_request_is_what_its_client_was_told(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log.handlers[0], "stream", lines := StringIO())
    noted = Counter(metrics.requests)

    def full(group: Group) -> None:
        assert lines.getvalue() == ""  # it could say what does not happen
        group.end()
        raise Unavailable("database or disk is full")

    with monkeypatch.context() as failing:
        failing.setattr(Group, "commit", full)
        answers = batch.send(create("lost"), post(CONVERSATIONS, {}))
    answers += batch.send(create("stored"))
    assert [answer.status for answer in answers] == [503, 422, 201]
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert {line["request_id"]: line["status"] for line in logged if "status" in line} == {
        answer.headers["x-request-id"]: answer.status for answer in answers
    }
    assert Counter(metrics.requests) - noted == {
        ("POST", CONVERSATIONS, status): 1 for status in (503, 422, 201)
    }


def test_a_full_disk_rolls_the_batch_back_and_later_writes_succeed(
    batch: Batch, store: SqliteStore
):
    batch.send(create("there"))
    pages = store.pragma("page_count")
    store.pragma("max_page_count", pages + 2)
    large = [post(CONVERSATIONS, {"project_id": PROJECT, "title": "x" * 255}) for _ in range(200)]
    assert {answer.status for answer in batch.send(*large)} == {503}
    assert titles(store) == ["there"]
    store.pragma("max_page_count", 1_000_000)
    (after,) = batch.send(create("after"))
    assert after.status == 201
    assert titles(store) == ["there", "after"]
