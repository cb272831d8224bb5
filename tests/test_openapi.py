"""Tests that the OpenAPI document is valid and says exactly what routes take and answer."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints
from urllib.parse import quote

import pytest
from chalice.app import RouteEntry

from app import app
from db.clock import new_id
from handlers.http.caller import OpenAICaller, SignedOnUser
from handlers.http.glossary import WORDS
from handlers.http.openapi import describe
from handlers.service import openapi

from .support.clients import Answer, Api
from .support.world import PROJECT, ROUTES, USER, make_world, name_of, request_for

jsonschema = pytest.importorskip("jsonschema")
openapi_spec_validator = pytest.importorskip("openapi_spec_validator")

PAGE = describe(app)
HELLO = {"role": "user", "content": "Hello"}
# The gateway adds these headers to every answer, so the document does not list them.
OF_THE_GATEWAY = re.compile("content-type|access-control-.*")
every_route = pytest.mark.parametrize("route", ROUTES, ids=name_of)


def operation(route: RouteEntry) -> dict[str, Any]:
    return PAGE["paths"][route.uri_pattern][route.method.lower()]


def names(route: RouteEntry, place: str) -> set[str]:
    return {p["name"] for p in operation(route)["parameters"] if p["in"] == place}


def parameters_of(route: RouteEntry) -> dict[str, Any]:
    """Return the parameters of the route's function, with their types."""
    hints = get_type_hints(inspect.unwrap(route.view_function), include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return"}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    root = {**schema, "components": PAGE["components"]}
    return jsonschema.Draft202012Validator(root).is_valid(value)


def assert_documented(route: RouteEntry, answer: Answer) -> None:
    """Assert that the document describes the answer's status, headers and body."""
    documented = operation(route)["responses"][str(answer.status)]
    known = {name.lower() for name in documented["headers"]}
    assert {name for name in answer.headers if not OF_THE_GATEWAY.fullmatch(name)} <= known
    assert bool(answer.body) == ("content" in documented)
    if answer.body:
        media_type = answer.headers["content-type"]
        body = answer.json if media_type.endswith("json") else answer.body.decode()
        assert accepts(documented["content"][media_type]["schema"], body)


def test_the_document_is_valid_openapi_3_1():
    openapi_spec_validator.validate(PAGE)


def test_the_document_is_served(api: Api):
    assert api.get("/openapi.json").json == openapi() == PAGE


def test_the_document_has_every_route_and_no_other():
    served = {(route.uri_pattern, route.method.lower()) for route in ROUTES}
    assert served == {(path, method) for path, item in PAGE["paths"].items() for method in item}


@every_route
def test_an_operation_is_named_after_its_function_and_explained(route: RouteEntry):
    page = operation(route)
    assert page["operationId"] == name_of(route)
    assert inspect.getdoc(route.view_function).startswith(page["summary"])
    assert page["tags"][0] in {tag["name"] for tag in PAGE["tags"] if tag["description"]}


def described(part: Any, where: str = "") -> Iterator[tuple[str, str, str | None]]:
    """Yield each field and parameter of the document: where it is, its name, its description."""
    if isinstance(part, list):
        for each in part:
            yield from described(each, where)
    elif isinstance(part, dict):
        if "in" in part and "schema" in part:
            yield where, part["name"], part.get("description")
        if isinstance(fields := part.get("properties"), dict):
            for name, field in fields.items():
                yield where, name, field.get("description")
        for name, each in part.items():
            if name not in ("example", "examples", "default", "enum", "const"):
                yield from described(each, f"{where}/{name}")


def test_every_field_and_parameter_is_described():
    assert [(where, name) for where, name, text in described(PAGE) if not text] == []


def test_the_glossary_has_no_word_that_is_not_used():
    used = {(name, text) for _, name, text in described(PAGE)}
    assert [word for word in WORDS.items() if word not in used] == []


@every_route
def test_an_operation_has_an_example_that_fits(route: RouteEntry):
    page = operation(route)
    for parameter in page["parameters"]:
        if parameter["in"] == "path":
            assert accepts(parameter["schema"], parameter["example"])
    for body in page.get("requestBody", {}).get("content", {}).values():
        assert accepts(body["schema"], body["example"])
    answer = page["responses"][str(route.view_function.endpoint.status)]
    given = [body for body in answer.get("content", {}).values() if "example" in body]
    assert bool(given) == ("content" in answer)
    for body in given:
        assert accepts(body["schema"], body["example"])


@every_route
def test_the_document_has_every_parameter(route: RouteEntry):
    taken = parameters_of(route)
    of_model = getattr(taken.pop("headers", None), "model_fields", {})
    headers = {field.alias for field in of_model.values()}
    if caller := taken.pop("caller", None):
        headers.add("X-User-Id")
        if caller is OpenAICaller:
            headers.add("OpenAI-Project")
    if route.method == "POST" and not route.view_function.endpoint.is_idempotent:
        headers.add("Idempotency-Key")
    taken.pop("claim", None)
    assert names(route, "header") == headers
    of_query = getattr(taken.pop("query", None), "model_fields", {})
    assert names(route, "query") == {field.alias or name for name, field in of_query.items()}
    assert ("requestBody" in operation(route)) == bool(taken.pop("body", None))
    assert names(route, "path") == set(taken) == set(re.findall("{(.*?)}", route.uri_pattern))


@pytest.mark.parametrize(
    ("require_api_key", "open_routes"), [(True, set()), (False, {"api", "v1"})]
)
def test_the_document_tells_where_a_stage_needs_no_key(
    configure: Callable[..., None], require_api_key: bool, open_routes: set[str]
):
    configure(require_api_key=require_api_key)
    page = describe(app)
    openapi_spec_validator.validate(page)
    assert open_routes == {
        path.split("/")[1]
        for path, item in page["paths"].items()
        for documented in item.values()
        if {} in documented.get("security", ())
    }


@pytest.mark.parametrize(
    ("name", "followed"),
    [
        (
            "create_conversation",
            {
                "get_conversation": {"conversation_id": "$response.body#/id"},
                "rename_conversation": {
                    "conversation_id": "$response.body#/id",
                    "project_id": "$response.body#/project_id",
                },
            },
        ),
        (
            "append_messages",
            {
                "append_to_message": {
                    "conversation_id": "$request.path.conversation_id",
                    "message_id": "$response.body#/id",
                }
            },
        ),
    ],
)
def test_the_document_links_what_was_made_to_what_can_be_asked_about_it(
    name: str, followed: dict[str, Any]
):
    route = next(route for route in ROUTES if name_of(route) == name)
    links = operation(route)["responses"]["201"]["links"]
    for linked, parameters in followed.items():
        assert links[linked] == {"operationId": linked, "parameters": parameters}


@every_route
def test_the_document_requires_a_key_and_a_user_where_the_route_does(route: RouteEntry):
    caller = parameters_of(route).get("caller")
    ways = [{"ApiKey": []}, {"Bearer": []}] if caller else []
    assert operation(route).get("security", []) == ways
    required = {p["name"] for p in operation(route)["parameters"] if p["required"]}
    assert ("X-User-Id" in required) == (caller is SignedOnUser)


@pytest.fixture
def alice_api(api: Api) -> Api:
    api.headers["X-User-Id"] = USER
    return api


@every_route
def test_a_valid_request_is_answered_as_the_document_says(route: RouteEntry, alice_api: Api):
    answer = request_for(route, make_world()).send(alice_api, headers={"Idempotency-Key": "k"})
    assert answer.status == route.view_function.endpoint.status
    assert_documented(route, answer)


@every_route
def test_a_problem_is_answered_as_the_document_says(route: RouteEntry, alice_api: Api):
    answer = request_for(route, make_world()).send(alice_api, state=["a", "b"])
    assert answer.status == (400 if route.uri_pattern.startswith("/v1/") else 422)
    assert_documented(route, answer)


@pytest.mark.parametrize("route", [r for r in ROUTES if operation(r).get("security")], ids=name_of)
def test_a_missing_key_is_answered_as_the_document_says(route: RouteEntry, alice_api: Api):
    answer = request_for(route, make_world()).send(alice_api, headers={"X-API-Key": None})
    assert answer.status == 401
    assert_documented(route, answer)


def test_a_304_is_answered_as_the_document_says(alice_api: Api):
    route = next(route for route in ROUTES if name_of(route) == "get_conversation")
    answer = request_for(route, make_world()).send(alice_api, headers={"If-None-Match": "*"})
    assert answer.status == 304
    assert_documented(route, answer)


@pytest.mark.parametrize("route", [r for r in ROUTES if "requestBody" in operation(r)], ids=name_of)
def test_the_document_and_the_route_agree_on_a_body(route: RouteEntry, alice_api: Api):
    schema = operation(route)["requestBody"]["content"]["application/json"]["schema"]
    good = request_for(route, make_world())
    bad = good._replace(json={**good.json, "unknown": 1})
    assert accepts(schema, good.json)
    assert not accepts(schema, bad.json)
    status = 400 if route.uri_pattern.startswith("/v1/") else 422
    assert bad.send(alice_api).status == status


@pytest.mark.parametrize(
    "title",
    ["x", " x", "x\n", "x" * 255, "", " ", "\n", "\x1f\x85", "a\0b", "x" * 256, None, 7],
)
def test_the_document_and_the_route_agree_on_a_title(api: Api, title: object):
    body = {"project_id": PROJECT, "title": title}
    accepted = accepts(PAGE["components"]["schemas"]["ConversationCreate"], body)
    assert api.post("/api/v1/conversations", body).status == (201 if accepted else 422)


@pytest.mark.parametrize("name", ["x", " ", "x" * 64, "", "a\0b", "x" * 65, "x" * 256, None, 7])
def test_the_document_and_the_route_agree_on_names_that_clients_give(
    api: Api, conversation_id: str, name: object
):
    path = f"/conversations/{conversation_id}/messages"
    for schema, target, body in (
        ("ConversationCreate", "/api/v1/conversations", {"project_id": PROJECT, "key": name}),
        ("MessageCreate", f"/api/v1{path}", {**HELLO, "client_id": name}),
        (
            "ProjectMessagesCreate",
            f"/projects/{PROJECT}/conversations/{new_id()}/messages",
            {"messages": [HELLO], "user_id": name},
        ),
    ):
        accepted = accepts(PAGE["components"]["schemas"][schema], body)
        assert api.post(target, body).status == (201 if accepted else 422), schema


@pytest.mark.parametrize("key", ["x", "x" * 255, "x" * 256, "a\0b"])
def test_the_document_and_the_route_agree_on_a_key_in_the_path(api: Api, key: str):
    route = next(route for route in ROUTES if name_of(route) == "get_or_create_conversation")
    (parameter,) = (p for p in operation(route)["parameters"] if p["name"] == "key")
    path = f"/api/v1/conversations/by-key/{quote(key)}"
    status = api.request("PUT", path, {"project_id": PROJECT}).status
    assert status == (201 if accepts(parameter["schema"], key) else 422)


@pytest.mark.parametrize(
    "tags",
    [[], ["x"], ["x" * 64], [""], [" "], ["a\0b"], ["x" * 65], [7], None, ["x"] * 16],
    ids=str,
)
def test_the_document_and_the_route_agree_on_tags(
    api: Api, conversation_id: str, tags: list[object] | None
):
    accepted = accepts(PAGE["components"]["schemas"]["ConversationPatch"], {"tags": tags})
    answer = api.patch(f"/api/v1/conversations/{conversation_id}", {"tags": tags})
    assert answer.status == (200 if accepted else 422)


def test_a_request_that_was_stored_before_is_answered_as_the_document_says(alice_api: Api):
    for name, more in (
        ("get_or_create_conversation", {}),
        ("append_messages", {"client_id": "c"}),
        ("append_project_messages", {"messages": [{**HELLO, "client_id": "c"}]}),
    ):
        route = next(route for route in ROUTES if name_of(route) == name)
        request = request_for(route, make_world())
        request = request._replace(json={**request.json, **more})
        for status in (201, 200):
            answer = request.send(alice_api)
            assert answer.status == status
            assert_documented(route, answer)


@pytest.mark.parametrize("status", ["in_progress", "completed"])
@pytest.mark.parametrize("content", ["Hello", "a\0b", [{"type": "text", "text": "Hello"}]])
def test_the_document_and_the_route_agree_on_a_content(
    api: Api, conversation_id: str, content: object, status: str
):
    path = f"/api/v1/conversations/{conversation_id}/messages"
    body = {"role": "assistant", "content": content, "status": status}
    accepted = accepts(PAGE["components"]["schemas"]["MessageCreate"], body)
    assert api.post(path, body).status == (201 if accepted else 422)


@pytest.mark.parametrize(
    "header", ["*", '""', '"17"', 'W/"17", "18"', "17", '"17', "'17'", "*, *", '"a" "b"']
)
def test_the_document_and_the_route_agree_on_if_match(api: Api, conversation_id: str, header: str):
    path = f"/api/v1/conversations/{conversation_id}"
    (parameter,) = (
        each
        for each in PAGE["paths"]["/api/v1/conversations/{conversation_id}"]["patch"]["parameters"]
        if each["name"] == "If-Match"
    )
    answer = api.patch(path, {"title": "Plans"}, headers={"If-Match": header})
    assert (answer.status != 422) == accepts(parameter["schema"], header)
