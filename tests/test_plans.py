"""Tests that no query of a route sorts rows or scans a table that grows."""

import re
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
from chalice.app import RouteEntry
from playhouse.test_utils import count_queries

from db import api_keys, conversations, messages, search_index
from db.clock import new_id
from db.engine.database import database
from db.messages import Draft
from db.scope import EVERYTHING, Scope

from .support.clients import Answer, Api
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
# `/health` reads these tables. They have one row for each table or migration. `/metrics` measures
# the search index.
SMALL = re.compile(
    'sqlite_master|schema_migration|FROM "search_progress" AS "t1"|FROM search_index_data'
)
# The table has one row. The step of FTS5 is a look into its index.
NO_SCAN = re.compile(r"SCAN search_progress|SCAN t1 VIRTUAL TABLE INDEX \d+:M")
# A sweep looks at all streams that are open, and `/metrics` counts them. They are few.
OPEN_STREAMS = re.compile(
    r'SELECT ("t1"."conversation_id"|COUNT\("t1"."message_id"\)) FROM "stream" AS "t1"'
)
# The recursive queries of `branches` and `projects` go through what they have found so far, and a
# query of `search_index` through the ids that it is given.
FOUND_SO_FAR = {"SCAN run", "SCAN project", "SCAN asked"}
CONVERSATIONS = "/api/v1/conversations"


pytestmark = pytest.mark.usefixtures("no_chores")  # the tests bring the search index up to date


def use_everything(api: Api) -> None:
    """Call every route with every shape of its query."""
    world = make_world()
    for route in ROUTES:
        request_for(route, make_world()).send(api, headers={"Idempotency-Key": route.view_name})
    read_changes_and_trash(api)
    search_everything(api)
    follow_and_finish(api, world)
    filter_the_side_bar(api)
    branch_and_repeat(api)
    find_by_key(api)
    use_ai_sdk(api)
    use_openai(api)
    for format in ("markdown", "jsonl", "openai", "chatgpt"):
        api.get(f"{CONVERSATIONS}/{world.conversation_id}/export", format=format)
    id = world.conversation_id
    for path in (CONVERSATIONS, f"/projects/{PROJECT}/conversations"):
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


def read_changes_and_trash(api: Api) -> None:
    for project in ({}, {"project_id": PROJECT}):
        page = api.get("/api/v1/changes", limit=1, **project).json  # behind a beginning
        while page["has_more"]:
            page = api.get("/api/v1/changes", after=page["cursor"], **project).json
        api.get("/api/v1/changes", after=page["cursor"], **project)
        api.get("/api/v1/trash", limit=1, **project)


def search_everything(api: Api) -> None:
    """Search what is behind, and then what the index has."""
    for _ in range(2):
        for query in ({}, {"is_archived": "true"}, {"role": "user"}, {"sort": "newest"}):
            for project in ({}, {"project_id": PROJECT}):
                api.get("/api/v1/search", q="nobody e*", limit=1, **query, **project)
        index_all()


def index_all() -> None:
    while search_index.follow():
        pass
    database.close()


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


def use_openai(api: Api) -> None:
    """Go on from answers that are in a conversation, and from one that is in none."""
    conversation = api.post("/v1/conversations", {"items": [HELLO]}).json["id"]
    for place in ({"conversation": conversation}, {}):
        asked = {"input": "Hello", **place}
        answer = api.post("/v1/responses", asked).json["id"]
        for _ in range(2):
            api.post("/v1/responses", {"input": "More", "previous_response_id": answer})
    for query in ({"order": "asc"}, {"order": "asc", "after": conversation},
                  {"before": conversation}, {"metadata[a]": "b"}):  # fmt: skip
        api.get("/v1/conversations", **query)
    for order in ("asc", "desc"):
        api.get(f"/v1/conversations/{conversation}/items", order=order)


def filter_the_side_bar(api: Api) -> None:
    """Page in both directions through every kind of list."""
    flags = (None, "true", "false")
    for project, sort, is_archived, is_pinned, tags in product(
        (None, PROJECT), ("created", "activity"), flags, flags, ([], ["work"], ["work", "home"])
    ):
        asked = {
            "project_id": project, "sort": sort, "is_archived": is_archived,
            "is_pinned": is_pinned, "tag": tags,
        }  # fmt: skip
        query = {name: value for name, value in asked.items() if value}
        second = api.get(linked(api.get(CONVERSATIONS, **query, limit=1), "next"))
        assert len(api.get(linked(second, "prev")).json["conversations"]) == 1
        api.get(CONVERSATIONS, **query, skip=1)
    for query in ({}, {"limit": 1}):
        answer = api.get("/api/v1/projects", **query)
        if "link" in answer.headers:
            api.get(linked(answer, "next"))


def linked(answer: Answer, relation: str) -> str:
    found = re.search(f'<([^>]*)>; rel="{relation}"', answer.headers["link"])
    assert found
    return found[1]


def branch_and_repeat(api: Api) -> None:
    """Make and read branches. Repeat messages that have client ids."""
    made = api.post(CONVERSATIONS, {"project_id": PROJECT}).json
    path = f"{CONVERSATIONS}/{made['id']}"
    ends: list[str | None] = [None, None]
    for number in range(20):  # two branches that take turns: each message is a run of its own
        body = {"role": "user", "content": "Hi", "parent_id": ends[number % 2]}
        ends[number % 2] = api.post(f"{path}/messages", body).json["id"]
    leaf, other = ends
    for branch in ({}, {"branch": "all"}, {"branch": leaf}):
        api.get(path, **branch)
        for page in ({}, {"limit": 3}, {"after": leaf}, {"before": leaf, "limit": 3}):
            for order in ("asc", "desc"):
                api.get(f"{path}/messages", **branch, **page, order=order)
    api.post(f"{path}/messages", [{"role": "system", "content": "Hi", "parent_id": leaf}])
    for query in ({}, {"leaf": other}, {"max_tokens": 20}):
        api.get(f"{path}/context", **query)
    api.get(CONVERSATIONS, project_id=PROJECT)
    api.patch(path, {"last_message_id": leaf})
    for body in ({}, {"message_id": other}):
        api.post(f"{path}/fork", body)
    for message in ({"client_id": "1"}, {"client_id": "2", "parent_id": other}):
        for batch in ([message], [message], [message, {"client_id": "3"}]):
            api.post(f"{path}/messages", [{"role": "user", "content": "Hi", **m} for m in batch])
    chat = {"conversation_id": made["id"], "content": "Hi", "client_id": "4"}
    first, _ = [api.post("/api/v1/chat", chat).json for _ in range(2)]
    question = first["user_message"]["id"]
    api.post("/api/v1/chat", {"conversation_id": made["id"], "parent_id": question})
    project_path = f"/projects/{PROJECT}/conversations/{made['id']}/messages"
    for page in ({}, {"limit": 3}, {"after": leaf}, {"before": leaf}):
        api.get(project_path, **page)
    first = api.get(f"{path}/messages", branch="all", limit=1).json["first_id"]
    for gone in (other, leaf, first, question):
        assert api.delete(f"{path}/messages/{gone}").status == 204


def find_by_key(api: Api) -> None:
    """Use a key that is free and one that is taken. Create a conversation under an id."""
    body = {"project_id": PROJECT, "tags": ["work"], "messages": [{"role": "user", "content": ""}]}
    for _ in range(2):
        api.request("PUT", f"{CONVERSATIONS}/by-key/desk", body)
    api.post(CONVERSATIONS, {**body, "key": "desk"})
    place = f"/projects/{PROJECT}/conversations/{new_id()}/messages"
    assert api.post(place, {"messages": body["messages"]}).status == 201


def use_ai_sdk(api: Api) -> None:
    """Submit, repeat, edit and regenerate in a chat of the AI SDK."""
    one, two = ({"role": "user", "parts": [{"type": "text", "text": t}]} for t in ("1", "2"))
    for fields in (
        {"message": {"id": "1", **one}},
        {"message": {"id": "1", **one}},
        {"message": {"id": "1", **two}},
        {"messages": [{"id": "1", **one}, {"id": "2", **two}]},
        {"messages": [{"id": "2", **two}], "trigger": "regenerate-message"},
        {"trigger": "regenerate-message"},
        {"trigger": "regenerate-message", "messageId": "1"},
    ):
        body = {"id": "desk", "project_id": PROJECT, **fields}
        assert api.post("/api/chat", body).status == 200
    for path in ("", "/stream"):
        assert api.get(f"/api/chat/desk{path}").status == 200
    assert api.post("/api/chat/desk/stop").status == 204


def fill_the_side_bar(user_id: str) -> None:
    """Two conversations of a user for each pair of flags, with two tags."""
    scope = Scope(PROJECT, user_id)
    for is_archived, is_pinned in 2 * list(product((False, True), repeat=2)):
        row = conversations.start(scope, PROJECT, tags=["work", "home"])
        conversations.change(scope, row.id, is_archived=is_archived, is_pinned=is_pinned)


@pytest.fixture(params=["as it is", "analysed"])
def queries(request: pytest.FixtureRequest, api: Api) -> list[tuple[str, list[object]]]:
    """All SQL of all routes for each kind of caller: each statement once, with values."""
    fill()
    fill_the_side_bar(USER)
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


def fill(count: int = 300, name: str = "key") -> None:
    """Add conversations of others in two projects. In one project all are archived."""
    with database.atomic():
        for number in range(count):
            project = (PROJECT, PROJECT, OTHER_PROJECT)[number % 3]
            scope = Scope(project, f"user {number % 7}")
            fields = {"tags": ["work", "home"], "key": f"{name} {number}"}
            row = conversations.start(scope, project, **fields)
            messages.append(EVERYTHING, row.id, [Draft("user", "Hello")] * 2)
            if project == OTHER_PROJECT:
                conversations.change(EVERYTHING, row.id, is_archived=True)
    index_all()


def plan(sql: str, params: list[object]) -> list[str]:
    return [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params)]


def test_no_query_scans_or_sorts(queries: list[tuple[str, list[object]]]):
    steps = [(step, sql) for sql, params in queries for step in plan(sql, params)]
    assert len(steps) > 50
    bad = [
        (step, sql)
        for step, sql in steps
        if re.match("SCAN|USE TEMP B-TREE", step) and not is_of_rows_found(step, sql)
    ]
    assert [(step, sql) for step, sql in bad if not SMALL.search(sql)] == []


def is_of_rows_found(step: str, sql: str) -> bool:
    """Whether the step goes through rows that other steps found, or that the query has itself."""
    subquery = step.removeprefix("SCAN ")
    if re.fullmatch(r"\d+ CONSTANT ROWS", subquery) or NO_SCAN.match(step):
        return True
    if step == "SCAN t1" and OPEN_STREAMS.match(sql):
        return True
    return step in FOUND_SO_FAR or f') AS "{subquery}"' in sql


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


SEARCH = "search_messages"


def listed(path: str, **query: object) -> Callable[[World], Request]:
    return lambda world: Request("GET", path.format(**world._asdict()), query=query)


def is_for_operators(route: RouteEntry) -> bool:
    """Whether it concerns all users, or others than the one who asks."""
    needed = route.view_function.endpoint.authentication
    return needed is not None and needed.never_token


ASKED: dict[str, Callable[[World], Request]] = {
    **{
        name_of(route): partial(request_for, route)
        for route in ROUTES
        if name_of(route) != SEARCH and not is_for_operators(route)
    },
    "all of a user": listed(CONVERSATIONS),
    "by activity": listed(CONVERSATIONS, sort="activity"),
    "by activity in a project": listed(CONVERSATIONS, sort="activity", project_id=PROJECT),
    "by tag": listed(CONVERSATIONS, tag="work"),
    "by tag in a project": listed(CONVERSATIONS, tag="work", project_id=PROJECT),
    "by two tags and activity": listed(CONVERSATIONS, tag=["work", "home"], sort="activity"),
    "pinned ones": listed(CONVERSATIONS, is_pinned="true"),
    "pinned ones by activity": listed(CONVERSATIONS, is_pinned="true", sort="activity"),
    "others by activity": listed(CONVERSATIONS, is_pinned="false", sort="activity"),
    "projects": listed("/api/v1/projects"),
    "changes": listed("/api/v1/changes"),
    "changes of a project": listed("/api/v1/changes", project_id=PROJECT),
    "trash": listed("/api/v1/trash"),
    "trash of a project": listed("/api/v1/trash", project_id=PROJECT),
    "archived ones": listed("/projects/{project_id}/conversations", is_archived="true"),
    "others": listed("/projects/{project_id}/conversations", is_archived="false"),
    "after": listed("/projects/{project_id}/conversations", after="f" * 32),
    "before": listed("/projects/{project_id}/conversations", before="0" * 32),
}


@pytest.mark.parametrize("query", [{}, {"project_id": PROJECT}, {"sort": "newest"}], ids=str)
@pytest.mark.parametrize("is_behind", [False, True])
def test_a_user_searches_their_own(api: Api, query: dict[str, str], is_behind: bool):
    costs = []
    for user in ("early", "late"):
        fill(100 if user == "early" else 1000, user)
        search_index.rewrite()  # FTS5 reads each part of its index by queries of its own
        make_world(user_id=user)
        if not is_behind:
            index_all()
        api.headers["X-User-Id"] = user
        costs.append(cost(api, Request("GET", "/api/v1/search", query={"q": "nobody", **query})))
    early, late = costs
    assert late <= early * 1.5


# A plan that says SEARCH may still read a whole project.
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_user_pays_nothing_for_others_conversations(api: Api, asked: Callable[[World], Request]):
    api.headers["X-User-Id"] = "early"
    alone = cost(api, asked(make_world(user_id="early")))
    fill(500)
    api.headers["X-User-Id"] = "late"
    assert cost(api, asked(make_world(user_id="late"))) <= alone * 1.1


@pytest.mark.parametrize("sort", ["created", "activity"])
@pytest.mark.parametrize("project", [{}, {"project_id": PROJECT}], ids=["all", "one"])
@pytest.mark.parametrize("which", [{"is_pinned": "true"}, {"tag": "rare"}], ids=str)
def test_a_list_that_leaves_most_out_does_not_read_it(
    api: Api, which: dict[str, str], project: dict[str, str], sort: str
):
    row = conversations.start(Scope(PROJECT), PROJECT, tags=["rare"])
    conversations.change(EVERYTHING, row.id, is_pinned=True)
    ask = Request("GET", CONVERSATIONS, query={**which, **project, "sort": sort})
    # By activity, a list of all costs a step for each project.
    conversations.start(EVERYTHING, OTHER_PROJECT)
    alone = cost(api, ask)
    fill(500)
    assert cost(api, ask) <= alone * 1.1
    assert len(ask.send(api).json["conversations"]) == 1


@pytest.mark.parametrize("sort", ["created", "activity"])
@pytest.mark.parametrize(
    "which", [{}, {"project_id": PROJECT}, {"is_archived": "false"}, {"tag": "work"}], ids=str
)
def test_a_page_by_cursor_costs_the_same_at_any_depth(api: Api, which: dict[str, str], sort: str):
    fill(300)
    answer = api.get(CONVERSATIONS, **which, sort=sort, limit=10)
    early = linked(answer, "next")
    for _ in range(18):
        late = linked(answer, "next")
        answer = api.get(late)
    assert len(answer.json["conversations"]) == 10
    first = cost(api, Request("GET", early))
    assert cost(api, Request("GET", late)) <= first * 1.1
    assert cost(api, Request("GET", linked(answer, "prev"))) <= first * 1.1


def test_a_conversation_is_found_by_its_key_whatever_else_has_one(api: Api):
    ask = Request("PUT", f"{CONVERSATIONS}/by-key/desk", {"project_id": PROJECT})
    assert ask.send(api).status == 201
    alone = cost(api, ask)
    fill(500)
    assert cost(api, ask) <= alone * 1.1
    assert ask.send(api).status == 200


HELLO = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("method", "path", "body", "query"),
    [
        ("GET", "", None, {"limit": 2}),
        ("GET", "", None, {"limit": 2, "order": "desc"}),
        ("GET", "", None, {"limit": 2, "branch": "all"}),
        ("GET", "", None, {"limit": 2, "branch": "{leaf}"}),
        ("GET", "/{leaf}", None, {}),
        ("POST", "", HELLO, {}),
        ("POST", "", {**HELLO, "parent_id": None}, {}),
        ("DELETE", "/{leaf}", None, {}),
    ],
    ids=str,
)
def test_a_long_branch_costs_no_more_than_a_short_one(
    api: Api, method: str, path: str, body: object, query: dict[str, object]
):
    costs = []
    for length in (10, 400):
        id = conversations.start(EVERYTHING, PROJECT).id
        line = messages.append(EVERYTHING, id, [Draft("user", "Hello")] * length)
        branch = Draft("user", "Hello", parent_id=line[-2].id)
        (leaf,) = messages.append(EVERYTHING, id, [branch])
        named = {name: str(value).format(leaf=leaf.id) for name, value in query.items()}
        place = f"{CONVERSATIONS}/{id}/messages{path.format(leaf=leaf.id)}"
        costs.append(cost(api, Request(method, place, body, named)))
    short, long = costs
    assert long <= short * 1.1


def test_listing_archived_conversations_does_not_read_the_others(api: Api):
    ask = ASKED["archived ones"](make_world())
    alone = cost(api, ask)
    fill(500)
    assert cost(api, ask) <= alone * 1.1
