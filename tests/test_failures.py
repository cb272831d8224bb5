"""Tests what is answered, written and logged when the code or the database fails."""

import io
import itertools
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress

import peewee
import pytest
from chalice.app import RouteEntry
from httpx import RemoteProtocolError

from db import messages, submissions
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.errors import ClientIdReused, Unavailable
from db.messages import Draft
from db.models import Conversation
from db.scope import EVERYTHING, Scope
from db.submissions import Submission
from handlers.http import logs

from .support.clients import Api, assert_problem
from .support.world import PROJECT, ROUTES, SECRET, USER, dump, make_world, name_of, request_for

WRITES = [route for route in ROUTES if route.method != "GET"]
# A chat has several transactions, so that a failure keeps the question and the partial answer.
CHATS = ("chat", "submit_to_chat", "create_response")
IN_ONE_TRANSACTION = [route for route in WRITES if name_of(route) not in CHATS]
RETRY = {"Idempotency-Key": "k"}


@pytest.fixture
def api(api: Api) -> Api:
    api.headers["X-User-Id"] = USER
    return api


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the service logs during the test."""
    lines = io.StringIO()
    monkeypatch.setattr(logs._handler, "stream", lines)
    return lines


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_an_internal_error_reveals_nothing_and_logs_everything(
    api: Api, route: RouteEntry, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
):
    def fail(**arguments: object) -> None:
        raise RuntimeError("the password is tiger")

    monkeypatch.setattr(route.view_function.endpoint, "function", fail)
    answer = request_for(route, make_world()).send(api)
    assert_problem(answer, 500, "internal")
    assert b"tiger" not in answer.body
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    whole = next(line for line in lines if line["level"] == "ERROR")
    assert whole["request_id"] == answer.headers["x-request-id"]
    assert "RuntimeError: the password is tiger" in whole["exception"]


class Refusal(Exception):
    """What PostgreSQL's driver raises for a row that violates a constraint."""

    sqlstate = "23505"


def refuse(value: str) -> Exception:
    error = peewee.IntegrityError(f"DETAIL: Key (title)=({value}) already exists.")
    error.orig = Refusal(str(error))
    return error


# By the class that the log shows. Each has a value in its text.
QUOTING: dict[str, Callable[[str], Exception]] = {
    "ValueError": ValueError,
    "KeyError": KeyError,
    "ConversationDoesNotExist": lambda value: Conversation.DoesNotExist(f"Params: ['{value}']"),
    "IntegrityError: 23505": refuse,
    "OperationalError: Could not decode to UTF-8 column 'title'": lambda value: (
        sqlite3.OperationalError(f"Could not decode to UTF-8 column 'title' with text '{value}'")
    ),
    "RemoteProtocolError": lambda value: RemoteProtocolError(f"illegal header line: {value}"),
}


@pytest.mark.parametrize("name", QUOTING)
def test_an_error_that_quotes_a_value_is_logged_whole_but_for_the_value(
    api: Api, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, name: str
):
    failed = 0
    for route in ROUTES:
        request = request_for(route, make_world())
        with monkeypatch.context() as patch:
            break_with(QUOTING[name], patch)
            answer = request.send(api, headers={**RETRY, "Cookie": SECRET})
        written = log.getvalue()
        if answer.status >= 500:
            failed += 1
            error = next(line for line in map(json.loads, written.splitlines()) if len(line) != 7)
            assert error["request_id"] == answer.headers["x-request-id"]
            assert name.partition(": ")[2] in error["message"]
            if answer.status == 500:
                assert f"\n{name}" in error["exception"]
                assert "in execute_sql\n" in error["exception"]
        for private in (SECRET, api.headers["X-API-Key"], *strings_in(request.json)):
            assert private not in written
            assert private.encode() not in answer.body or answer.status < 500
        log.truncate(log.seek(0))
    assert failed > len(ROUTES) / 2


def break_with(error_of: Callable[[str], Exception], patch: pytest.MonkeyPatch) -> None:
    """Let each statement fail, but for those that find the key."""
    execute = database.obj.execute_sql

    def execute_sql(sql: str, params: object = None) -> object:
        if "api_key" in sql:
            return execute(sql, params)
        quoted = SECRET
        raise error_of(quoted) from ClientIdReused(f"The client_id {quoted} is known.")

    patch.setattr(database.obj, "execute_sql", execute_sql)


@pytest.mark.parametrize("route", WRITES, ids=name_of)
def test_a_busy_database_is_503_and_nothing_is_written(
    api: Api, route: RouteEntry, store: SqliteStore
):
    request = request_for(route, make_world())
    database.initialize(SqliteStore(store.place, busy_timeout="1"))
    before = dump()
    with closing(sqlite3.connect(store.place)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = request.send(api, headers=RETRY)
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert dump() == before
    assert request.send(api, headers=RETRY).status < 300
    database.obj.close_all()


@pytest.mark.parametrize("route", [r for r in ROUTES if r not in WRITES], ids=name_of)
def test_a_writer_keeps_no_reader_waiting(api: Api, route: RouteEntry, store: SqliteStore):
    request = request_for(route, make_world())
    with closing(sqlite3.connect(store.place)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert request.send(api).status == 200


def break_at(number: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Make the statement with this number fail. The list then holds the statement."""
    execute, counted, broke = database.obj.execute_sql, itertools.count(1), []

    def execute_sql(sql: str, params: object = None) -> object:
        if next(counted) == number:
            broke.append(sql)
            raise peewee.OperationalError("disk I/O error")
        return execute(sql, params)

    patch.setattr(database.obj, "execute_sql", execute_sql)
    return broke


@pytest.mark.usefixtures("no_chores")  # whose faults are not the request's
@pytest.mark.parametrize("route", IN_ONE_TRANSACTION, ids=name_of)
def test_a_write_that_fails_at_any_statement_leaves_nothing_behind(
    api: Api, route: RouteEntry, monkeypatch: pytest.MonkeyPatch
):
    request = request_for(route, make_world())
    api.get("/api/v1/projects")  # else it is noted along the way that the key is used
    before = dump()
    for statement in itertools.count(1):
        with monkeypatch.context() as patch:
            broke = break_at(statement, patch)
            answer = request.send(api, headers=RETRY)
        if not broke:
            break
        assert_problem(answer, 503, "unavailable")
        assert dump() == before
    assert answer.status < 300
    assert statement > 2  # the key, the lock, or the write


@pytest.mark.usefixtures("no_chores")
@pytest.mark.parametrize("text", ["Hello", "Edited"])
def test_a_submission_that_fails_at_any_statement_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, text: str
):
    scope, name = Scope(PROJECT, USER), "a chat"
    if text == "Edited":
        first = Submission([Draft("user", "Hello", client_id="1")])
        submissions.take(scope, name, PROJECT, first)
    sent = Submission([Draft("user", text, client_id="1")], name="1")
    before = dump()
    for statement in itertools.count(1):
        with monkeypatch.context() as patch:
            broke = break_at(statement, patch)
            with suppress(Unavailable):
                submissions.take(scope, name, PROJECT, sent)
        if not broke:
            break
        assert dump() == before
    assert statement > 6
    assert dump() != before


def test_an_answer_that_lambda_cannot_carry_is_a_422_that_tells_what_to_do(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    world = make_world()
    half = Draft("user", "x" * 3_000_000)
    messages.append(EVERYTHING, world.conversation_id, [half, half])
    path = f"/api/v1/conversations/{world.conversation_id}"
    assert len(api.get(path).body) > 6_000_000
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "confab")
    problem = assert_problem(api.get(path), 422, "response-too-large")
    assert "/messages" in problem["detail"]
    assert "include_messages=false" in problem["detail"]
    assert api.get(path, include_messages="false").status == 200
    assert api.get(f"{path}/messages", limit=3).status == 200


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_request_leaves_one_line_in_the_log_with_nothing_private_in_it(
    api: Api, route: RouteEntry, log: io.StringIO
):
    request = request_for(route, make_world())
    answer = request.send(api, headers=RETRY)
    (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert list(line) == ["time", "level", "request_id", "method", "route", "status", "ms"]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["level"], line["method"], line["route"], line["status"]) == (
        "INFO", route.method, route.uri_pattern, answer.status
    )  # fmt: skip
    assert line["ms"] > 0
    for private in (SECRET, api.headers["X-API-Key"], *strings_in(request.json)):
        assert private not in log.getvalue()


def strings_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings_in(item)]
    return [value] if isinstance(value, str) else []
