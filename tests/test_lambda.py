"""Tests the zip in AWS's runtime client, without access to the checkout."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from chalice.app import RouteEntry
from chalice.utils import to_cfn_resource_name

from db import api_keys, conversations, messages
from db.engine import sqlite
from db.engine.database import database
from db.messages import Draft
from db.scope import EVERYTHING
from db.settings import SettingsError, settings
from db.startup import open_store

from .support.api_gateway import ApiGateway, Operation, proxy_event
from .support.clients import Api, assert_problem
from .support.lambda_runtime import Instance
from .support.packages import Package
from .support.pages import files_of
from .support.world import PROJECT, ROUTES, USER, make_world, name_of, request_for

pytest.importorskip("awslambdaric")

Gateway = Callable[..., ApiGateway]


@pytest.fixture
def gateway(package: Callable[[str], Package]) -> Iterator[Gateway]:
    """`gateway("sam.json")` serves the functions of that template on the test's database."""
    opened = []

    def open_gateway(template: str, stage: str = "prod", **environment: str) -> ApiGateway:
        built = package(stage)
        variables = {"DATABASE_URL": os.environ["DATABASE_URL"], **environment}
        opened.append(ApiGateway(built.template(template), built.task, variables))
        return opened[-1]

    yield open_gateway
    for one in opened:
        one.close()


@pytest.fixture
def key() -> str:
    plain, _ = api_keys.make()
    database.close()
    return plain


def pairs() -> pytest.MarkDecorator:
    """Each route, and the next one, whose events its function must refuse."""
    return pytest.mark.parametrize(
        ("route", "other"),
        list(zip(ROUTES, ROUTES[1:] + ROUTES[:1], strict=True)),
        ids=[name_of(route) for route in ROUTES],
    )


@pairs()
def test_a_function_for_one_route_serves_it_and_refuses_another(
    route: RouteEntry, other: RouteEntry, gateway: Gateway, key: str
):
    one_each = gateway("per-function.json")
    api = Api(one_each, {"X-API-Key": key, "X-User-Id": USER})
    world = make_world()
    assert request_for(route, world).send(api).status == route.view_function.endpoint.status
    names = [to_cfn_resource_name(name_of(each)) for each in (route, other)]
    one_each.functions[names[1]] = one_each.functions[names[0]]
    assert_problem(request_for(other, world).send(api), 421, "misdirected-request")


def test_without_a_database_the_first_request_fails_and_the_log_says_what_to_set(
    gateway: Gateway, key: str
):
    api = gateway("sam.json", DATABASE_URL="")
    assert_problem(Api(api).get("/health"), 500, "internal")
    (instance,) = api.functions["APIHandler"].instances
    assert "DATABASE_URL must be set on Lambda" in instance.log


@pytest.mark.parametrize("letter", ["a", '"', "é", "😀"])
def test_an_answer_that_is_too_large_for_lambda_is_a_422_instead(
    letter: str, gateway: Gateway, key: str
):
    """Lambda limits the JSON that its runtime writes. Before Python 3.12 that is ASCII."""
    api = Api(gateway("sam.json"), {"X-API-Key": key})
    content = letter * (2_900_000 // len(letter.encode()))
    answer = api.get(conversation_of(content))
    if answer.status == 200:
        assert answer.json["messages"][0]["content"] == content
    else:
        assert_problem(answer, 422, "response-too-large")
        assert letter != "a"


def conversation_of(content: str) -> str:
    """Create a conversation with one message, and return the path of its messages."""
    conversation = conversations.start(EVERYTHING, PROJECT)
    messages.append(EVERYTHING, conversation.id, [Draft("user", content)])
    database.close()
    return f"/api/v1/conversations/{conversation.id}/messages"


def test_a_function_writes_nothing_beside_its_code(gateway: Gateway, package: Callable, key: str):
    task: Path = package("prod").task
    before = sorted(task.rglob("*"))
    api = Api(gateway("sam.json"), {"X-API-Key": key})
    assert api.post("/api/v1/conversations", {"project_id": PROJECT}).status == 201
    assert sorted(task.rglob("*")) == before


@pytest.mark.parametrize("name", ["console", "docs"])
def test_the_zip_serves_a_page_with_all_its_files(gateway: Gateway, name: str):
    api = Api(gateway("sam.json"))
    page = api.get(f"/{name}")
    assert page.headers["content-type"] == "text/html"
    assert page.headers["content-security-policy"].startswith("default-src 'self'; ")
    for file in files_of(page):
        assert api.get(f"/{file}").status == 200, file


def test_every_line_of_its_log_is_json_without_key_or_title(gateway: Gateway, key: str):
    one = gateway("sam.json")
    api = Api(one, {"X-API-Key": key})
    answer = api.post("/api/v1/conversations", {"project_id": PROJECT, "title": "Our secret"})
    (instance,) = one.functions["APIHandler"].instances
    lines = [json.loads(line) for line in instance.log.splitlines()]
    assert lines[-1]["request_id"] == answer.headers["x-request-id"]
    assert key not in instance.log
    assert "Our secret" not in instance.log


@pytest.mark.parametrize("spellings", [["X-API-Key"], ["X-API-Key", "x-api-key"]])
def test_a_header_that_came_twice_is_refused(gateway: Gateway, key: str, spellings: list[str]):
    """API Gateway gives the last value as the header, and all in `multiValueHeaders`."""
    path = "/api/v1/conversations"
    event = proxy_event(Operation(path, "GET", {}), "prod", path, "", {"X-API-Key": key}, b"")
    values = ["another key", key] if len(spellings) == 1 else [key]
    event["multiValueHeaders"] |= dict.fromkeys(spellings, values)
    response = gateway("sam.json").functions["APIHandler"].invoke(event)
    assert response["statusCode"] == 400
    assert json.loads(response["body"])["type"] == "/problems/repeated-header"


def test_an_event_that_is_no_request_does_no_harm(package: Callable[[str], Package]):
    with Instance(package("prod").task) as instance:
        assert instance.invoke({"source": "aws.events"})["statusCode"] == 500
        assert instance.invoke({"source": "aws.events"})["statusCode"] == 500


@pytest.mark.system
def test_the_command_line_runs_as_a_function_and_its_key_opens_the_api(
    gateway: Gateway, tmp_path: Path
):
    """EFS needs a rollback journal. The zip brings SQLite in case Lambda's is too old."""
    efs = gateway(
        "sam.json", "efs", DATABASE_URL=f"sqlite:///{tmp_path}/efs.db?journal_mode=delete"
    )
    made = efs.functions["Manage"].invoke({"args": ["create-key", "--name", "first"]})
    assert made["exit_code"] == 0, made
    api = Api(efs, {"X-API-Key": made["stdout"].strip()})
    assert api.post("/api/v1/conversations", {"project_id": PROJECT}).status == 201
    assert api.get("/api/v1/conversations").json["total"] == 1
    assert [path.name for path in tmp_path.glob("efs.db*")] == ["efs.db"]


def test_the_manage_function_backs_up_a_file_on_efs(gateway: Gateway, tmp_path: Path):
    manage = gateway("sam.json", "efs").functions["Manage"]
    outcome = manage.invoke({"args": ["backup", str(tmp_path / "backup.db")]})
    assert outcome["exit_code"] == 0, outcome
    with closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_sqlite_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch):
    """Lambda's python3.11 has this SQLite of 2013."""
    monkeypatch.setattr(sqlite.sqlite3, "sqlite_version_info", (3, 7, 17))
    with pytest.raises(SettingsError, match=r"too old: at least 3\.35 is needed"):
        open_store(settings())


def test_a_command_that_fails_returns_its_error_message(gateway: Gateway, tmp_path: Path):
    manage = gateway("sam.json", "efs").functions["Manage"]
    outcome = manage.invoke({"args": ["revoke-key", "nobody"]})
    assert outcome["exit_code"] == 1
    assert "There is no key nobody" in outcome["stderr"]
