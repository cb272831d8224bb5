"""Tests that no query of a route sorts rows or scans a table that grows."""

import re
from collections.abc import Callable
from functools import partial

import pytest
from playhouse.test_utils import count_queries

from db import api_keys, conversations, messages
from db.engine.database import database
from db.messages import Draft
from db.scope import EVERYTHING, Scope

from .support.clients import Api
from .support.world import (
    OTHER_PROJECT,
    PROJECT,
    ROUTES,
    SECRET,
    USER,
    Request,
    World,
    make_world,
    name_of,
    request_for,
)

QUERY = re.compile("SELECT|INSERT|UPDATE|DELETE|WITH")
# `/health` reads these tables. They have one row for each table or migration.
SMALL = re.compile("sqlite_master|schema_migration")


def use_everything(api: Api) -> None:
    """Call every route with every shape of its query."""
    world = make_world()
    for route in ROUTES:
        request_for(route, make_world()).send(api, headers={"Idempotency-Key": route.view_name})
    follow_and_finish(api, world)
    id = world.conversation_id
    for path in ("/api/v1/conversations", f"/projects/{PROJECT}/conversations"):
        for query in (
            {}, {"limit": 1}, {"skip": 1}, {"project_id": PROJECT, "skip": 1}, {"after": id},
            {"before": id},
        ):  # fmt: skip
            for is_archived in ({}, {"is_archived": "true"}, {"is_archived": "false"}):
                api.get(path, **query, **is_archived)
    for query in (
        {"order": "desc"},
        {"after": id},
        {"before": id},
        {"before": id, "order": "desc"},
    ):
        api.get(f"/api/v1/conversations/{id}/messages", **query)


def follow_and_finish(api: Api, world: World) -> None:
    conversation = f"/api/v1/conversations/{world.conversation_id}"
    message = f"{conversation}/messages/{world.message_id}"
    delta = {"offset": len(SECRET), "delta": "!"}
    for body in (delta, delta, {**delta, "status": "completed"}, {**delta, "delta": "?"}):
        api.post(f"{message}/append", body)
    api.patch(message, {"status": "in_progress"})
    api.post(f"{message}/append", {"offset": len(SECRET) + 1, "delta": "More"})
    api.get(f"{conversation}/events", headers={"Last-Event-ID": "3"})
    api.get("/api/v1/conversations")


@pytest.fixture(params=["as it is", "analysed"])
def queries(request: pytest.FixtureRequest, api: Api) -> list[tuple[str, list[object]]]:
    """All SQL of all routes for each kind of caller: each statement once, with values."""
    fill()
    projects_key, _ = api_keys.make(PROJECT)
    if request.param == "analysed":  # SQLite then plans with statistics of the tables
        database.execute_sql("ANALYZE")
    database.close()
    with count_queries() as counter:
        for key in (api.headers["X-API-Key"], projects_key):
            for user in (USER, None):
                use_everything(Api(api.transport, {"X-API-Key": key, "X-User-Id": user}))
    run = {record.msg[0]: record.msg[1] for record in counter.get_queries()}
    return [(sql, params) for sql, params in run.items() if QUERY.match(sql)]


def fill(count: int = 300) -> None:
    """Add conversations of others in two projects. In one project all are archived."""
    with database.atomic():
        for number in range(count):
            project = (PROJECT, PROJECT, OTHER_PROJECT)[number % 3]
            row = conversations.start(Scope(project, f"user {number % 7}"), project)
            messages.append(EVERYTHING, row.id, [Draft("user", "Hello")] * 2)
            if project == OTHER_PROJECT:
                conversations.change(EVERYTHING, row.id, is_archived=True)
    database.close()


def plan(sql: str, params: list[object]) -> list[str]:
    return [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params)]


def test_no_query_scans_or_sorts(queries: list[tuple[str, list[object]]]):
    steps = [(step, sql) for sql, params in queries for step in plan(sql, params)]
    assert len(steps) > 50
    bad = [(step, sql) for step, sql in steps if re.match("SCAN|USE TEMP B-TREE", step)]
    assert [(step, sql) for step, sql in bad if not SMALL.search(sql)] == []


def cost(api: Api, request: Request) -> int:
    """Count the steps of SQLite's virtual machine that a request takes."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    connection = database.obj.connection()
    connection.set_progress_handler(count, 1)
    assert request.send(api).status < 300
    connection.set_progress_handler(None, 0)
    return steps


def listed(path: str, **query: str) -> Callable[[World], Request]:
    return lambda world: Request("GET", path.format(**world._asdict()), query=query)


ASKED: dict[str, Callable[[World], Request]] = {
    **{name_of(route): partial(request_for, route) for route in ROUTES},
    "all of a user": listed("/api/v1/conversations"),
    "archived ones": listed("/projects/{project_id}/conversations", is_archived="true"),
    "others": listed("/projects/{project_id}/conversations", is_archived="false"),
    "after": listed("/projects/{project_id}/conversations", after="f" * 32),
    "before": listed("/projects/{project_id}/conversations", before="0" * 32),
}


# A plan that says SEARCH may still read a whole project.
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_user_pays_nothing_for_others_conversations(api: Api, asked: Callable[[World], Request]):
    api.headers["X-User-Id"] = "early"
    alone = cost(api, asked(make_world(user_id="early")))
    fill(500)
    api.headers["X-User-Id"] = "late"
    assert cost(api, asked(make_world(user_id="late"))) <= alone * 1.1


def test_listing_archived_conversations_does_not_read_the_others(api: Api):
    ask = ASKED["archived ones"](make_world())
    alone = cost(api, ask)
    fill(500)
    assert cost(api, ask) <= alone * 1.1
