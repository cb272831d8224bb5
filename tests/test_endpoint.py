"""Tests `endpoint` on its own routes: from a request to typed arguments and back."""

import pytest
from chalice.app import Chalice
from chalice.config import Config
from pydantic import BaseModel, Field

from handlers.http.caller import AnyCaller, Caller
from handlers.http.endpoint import ANY, MAX_BODY_BYTES, NEWS, Reply, endpoint
from handlers.http.headers import Headers
from handlers.http.middleware import serve
from handlers.http.openapi import describe
from handlers.http.problems import Problem
from handlers.http.types import Strict, Text
from server.gateway import Gateway, GatewayRequest

from .support.clients import Api, InProcess, assert_problem


class ThingQuery(Strict):
    size: int = 1


class ThingHeaders(Headers):
    colour: str | None = Field(None, alias="X-Colour")


class ThingCreate(Strict):
    name: Text


class Thing(BaseModel):
    id: str
    name: str
    size: int
    colour: str | None
    user_id: str | None
    class_: str = Field("thing", serialization_alias="class")


app = Chalice("things", configure_logs=False)
app.register_middleware(serve, "http")


@app.route("/things/{thing_id}", methods=["POST"], content_types=ANY)
@endpoint(status=201, sends=("Location",))
def make_thing(
    caller: AnyCaller, thing_id: Text, query: ThingQuery, headers: ThingHeaders, body: ThingCreate
) -> Reply[Thing]:
    """Make a thing."""
    thing = Thing(
        id=thing_id,
        name=body.name,
        size=query.size,
        colour=headers.colour,
        user_id=caller.scope.user_id,
    )
    return Reply(thing, {"Location": "/things/1"})


@app.route("/things", methods=["DELETE"], content_types=ANY)
@endpoint(status=204)
def forget_things(caller: AnyCaller) -> None:
    """Forget all things."""


@app.route("/projects/{project_id}/things", methods=["GET", "POST"], content_types=ANY)
@endpoint()
def count_things(project_id: Text) -> int:
    """Count a project's things, for everybody."""
    counted.append(project_id)
    return len(counted)


@app.route("/projects/{project_id}/mine", methods=["GET"], content_types=ANY)
@endpoint()
def show_scope(caller: AnyCaller, project_id: Text) -> list[str | None]:
    """Show the project and the user of the caller."""
    return list(caller.scope)


@app.route("/projects/{project_id}/news", methods=["GET"], content_types=ANY)
@endpoint(waits_for=NEWS)
def wait_for_news(caller: AnyCaller, project_id: Text) -> None:
    """Wait for news of a project."""


counted: list[str] = []


@pytest.fixture
def things(api: Api) -> Api:
    return Api(InProcess(app), api.headers)


def test_a_request_becomes_typed_arguments_and_the_result_an_answer(things: Api):
    headers = {"X-Colour": "red", "X-User-Id": "alice"}
    answer = things.post("/things/a%2Fb%20%C3%BC", {"name": "Stone"}, headers=headers, size=2)
    assert answer.status == 201
    assert answer.headers["location"] == "/things/1"
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json.items()) == [
        ("id", "a/b ü"), ("name", "Stone"), ("size", 2), ("colour", "red"), ("user_id", "alice"),
        ("class", "thing"),
    ]  # fmt: skip


def test_without_a_request_an_endpoint_is_the_plain_function(things: Api, anyone: Caller):
    def call() -> Thing:
        body, query, headers = ThingCreate(name="Stone"), ThingQuery(), ThingHeaders(colour="red")
        return make_thing(anyone, "1", query, headers, body).body

    assert call().name == "Stone"
    things.post("/things/1", {"name": "Stone"})
    assert things.request("PUT", "/things/1").status == 405  # no view handles this request
    assert call().name == "Stone"


def test_a_validation_error_names_its_place(things: Api):
    for request, loc in (
        ({"json_body": {"name": 1}}, ["body", "name"]),
        ({"json_body": {"name": "x", "nmae": "y"}}, ["body", "nmae"]),
        ({"json_body": None}, None),
        ({"json_body": {"name": "x"}, "size": "big"}, ["query", "size"]),
        ({"json_body": {"name": "x"}, "sise": 1}, ["query", "sise"]),
        ({"json_body": {"name": "x"}, "size": [1, 1]}, ["query", "size"]),
    ):
        answer = things.post("/things/1", **request)
        if loc is None:
            assert_problem(answer, 400, "malformed-json")
        else:
            problem = assert_problem(answer, 422, "invalid")
            assert [error["loc"] for error in problem["errors"]] == [loc]
            assert problem["detail"].startswith(".".join(loc))
    problem = assert_problem(things.post("/things/%00", {"name": "x"}), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["path", "thing_id"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "text/plain; charset=utf-8",
        "application/merge-patch+json",
    ],
)
def test_json_is_accepted_under_the_media_types_that_clients_send(
    things: Api, content_type: str | None
):
    body = '{"name": "Größe"}'.encode()
    answer = things.post("/things/1", body=body, headers={"Content-Type": content_type})
    assert answer.json["name"] == "Größe"


@pytest.mark.parametrize(
    "content_type", ["application/xml", "application/x-www-form-urlencoded", "image/png", "json"]
)
def test_another_media_type_is_refused(things: Api, content_type: str):
    answer = things.post("/things/1", {"name": "x"}, headers={"Content-Type": content_type})
    problem = assert_problem(answer, 415, "unsupported-media-type")
    assert content_type in problem["detail"]
    assert answer.headers["accept"] == "application/json"


def test_a_body_has_at_most_six_million_bytes(things: Api):
    body = b'{"name": "x"}'
    assert things.post("/things/1", body=body.ljust(MAX_BODY_BYTES)).status == 201
    answer = things.post("/things/1", body=body.ljust(MAX_BODY_BYTES + 1))
    assert_problem(answer, 413, "payload-too-large")


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
def test_a_route_without_a_body_takes_an_empty_one(things: Api, body: bytes):
    answer = things.delete("/things", body=body)
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [(b'{"name": "x"}', 422, "invalid"), (b"[1]", 422, "invalid"), (b"x", 400, "malformed-json")],
)
def test_a_route_without_a_body_refuses_one_with_content(
    things: Api, body: bytes, status: int, slug: str
):
    assert_problem(things.delete("/things", body=body), status, slug)


def test_a_route_without_a_query_refuses_one(things: Api):
    assert_problem(things.delete("/things", force="true"), 422, "invalid")


@pytest.mark.parametrize(
    ("sent", "user_id"),
    [
        ("alice", "alice"),
        ("Zoë", "Zoë"),  # as API Gateway passes it on
        ("Zoë".encode().decode("latin-1"), "Zoë"),  # as Python's servers pass it on
        ("\xff", "\xff"),
        (None, None),
    ],
)
def test_a_user_id_is_utf8(things: Api, sent: str | None, user_id: str | None):
    answer = things.post("/things/1", {"name": "x"}, headers={"X-User-Id": sent})
    assert answer.json["user_id"] == user_id


@pytest.mark.parametrize("user_id", ["", "  ", "\t"])
def test_a_blank_user_id_does_not_stand_for_everybody(things: Api, user_id: str):
    answer = things.post("/things/1", {"name": "x"}, headers={"X-User-Id": user_id})
    problem = assert_problem(answer, 422, "invalid")
    assert problem["errors"][0]["loc"] == ["header", "X-User-Id"]


def test_a_user_id_has_at_most_255_characters(things: Api):
    sent = {length: "ë".encode().decode("latin-1") * length for length in (255, 256)}
    assert things.post("/things/1", {"name": "x"}, headers={"X-User-Id": sent[255]}).status == 201
    answer = things.post("/things/1", {"name": "x"}, headers={"X-User-Id": sent[256]})
    problem = assert_problem(answer, 422, "invalid")
    assert problem["errors"][0]["loc"] == ["header", "X-User-Id"]


def test_every_answer_has_an_id_of_its_own(things: Api):
    answers = [things.post("/things/1", {"name": name}) for name in ("x", "y", "\0", "\0")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


def test_the_document_has_all_that_a_new_route_takes_and_answers():
    page = describe(app)["paths"]["/things/{thing_id}"]["post"]
    assert page["summary"] == "Make a thing."
    assert {(p["in"], p["name"]) for p in page["parameters"]} == {
        ("path", "thing_id"), ("query", "size"), ("header", "X-Colour"), ("header", "X-User-Id"),
        ("header", "Idempotency-Key"),
    }  # fmt: skip
    assert list(page["responses"]) == [
        "201", "400", "401", "403", "413", "415", "422", "429", "500", "503", "default"
    ]  # fmt: skip
    assert set(page["responses"]["201"]["headers"]) == {
        "Location", "Idempotent-Replayed", "X-Request-Id", "RateLimit", "RateLimit-Policy"
    }  # fmt: skip
    assert describe(app)["components"]["schemas"]["Thing"]["required"][-1] == "class"


def test_a_route_may_name_a_project_and_ask_for_no_caller(things: Api):
    assert things.get("/projects/p/things").status == 200


def test_a_route_without_a_caller_takes_an_idempotency_key(things: Api):
    key = {"Idempotency-Key": "k", "X-API-Key": None}
    first = things.post("/projects/p/things", headers=key)
    again = things.post("/projects/p/things", headers=key)
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert again.headers["idempotent-replayed"] == "true"
    assert things.post("/projects/p/things", headers={"Idempotency-Key": "l"}).body != first.body


def test_the_caller_is_narrowed_to_the_paths_project(things: Api, anyone: Caller, alice: Caller):
    assert things.get("/projects/p/mine", headers={"X-User-Id": "zoe"}).json == ["p", "zoe"]
    assert show_scope(anyone, "p") == ["p", None]
    with pytest.raises(Problem, match="does not open project"):
        show_scope(alice, "p")


def test_a_server_can_ask_what_a_request_waits_for(things: Api):
    gateway = Gateway(app, Config())

    def waits_for(method: str, target: str) -> str | None:
        return gateway.waits_for(GatewayRequest(method, target, {}, b""))

    assert waits_for("GET", "/projects/p/news?wait=20") == NEWS
    assert waits_for("POST", "/projects/p/news") is None
    assert waits_for("GET", "/projects/p/things") is None
    assert waits_for("GET", "/nowhere") is None
