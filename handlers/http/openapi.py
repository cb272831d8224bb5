"""The OpenAPI 3.1 document, made from the routes and the types that serve."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from http import HTTPStatus
from inspect import getdoc
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from chalice.app import Chalice, RouteEntry

from db.settings import settings

from . import glossary, openapi_schemas, problems
from .endpoint import JSON, SAFE_METHODS, Endpoint
from .headers import (
    API_KEY,
    IDEMPOTENT_REPLAYED,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    REQUEST_ID,
    RESPONSE_HEADERS,
    SHOULD_RETRY,
)
from .openapi_schemas import Json, Schemas
from .problems import Dialect, Kind

_REFERENCE = re.compile(openapi_schemas.REF.format(model='([^"]+)'))
# What each operation answered when it was asked: `python -m tests.support.examples` records it.
EXAMPLES = Path(__file__).with_name("examples.json")
# How a request that has this parameter can fail.
IMPLIED = {
    "project_id": problems.OTHER_PROJECT,
    "conversation_id": problems.NO_CONVERSATION,
    "message_id": problems.NO_MESSAGE,
    "item_id": problems.NO_MESSAGE,
    "branch": problems.NO_MESSAGE,
    "leaf": problems.NO_MESSAGE,
    "If-Match": problems.STALE_PRECONDITION,
}
# The headers of a problem, by its status.
PROBLEM_HEADERS = {
    401: ["WWW-Authenticate"],
    415: ["Accept"],
    429: ["Retry-After"],
    502: [IDEMPOTENT_REPLAYED],
    503: ["Retry-After"],
}


def describe(app: Chalice) -> Json:
    """The document of all routes that `app` serves on this stage."""
    return _describe(app, settings().require_api_key)


@cache
def _describe(app: Chalice, require_api_key: bool) -> Json:
    routes = [route for methods in app.routes.values() for route in methods.values()]
    of_bodies, named = openapi_schemas.of_bodies([route.view_function.endpoint for route in routes])
    paths: dict[str, Json] = {}
    for route in routes:
        path = paths.setdefault(route.uri_pattern, {})
        operation = _operation(route, route.view_function.endpoint, of_bodies, require_api_key)
        path[route.method.lower()] = operation
    for route in routes:
        if links := _links(route, routes):
            operation = paths[route.uri_pattern][route.method.lower()]
            operation["responses"][str(route.view_function.endpoint.status)]["links"] = links
    named = _used(paths, named)
    _show_examples(paths)
    _explain([paths, named])
    rooms = dict.fromkeys(_room(route.view_function.__module__) for route in routes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Confab",
            "version": "1",
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "A conversation store for chat apps. A trailing slash is optional. "
            "A method that a path does not have is answered 405 with `Allow`. HEAD is answered as "
            "GET, but not by API Gateway: it has neither HEAD nor 405. A path that is not listed "
            "here does not reach the service: the gateway answers 403.",
        },
        "servers": [{"url": ".", "description": "Where this document is."}],
        "tags": [{"name": _tag(room), "description": _purpose(room)} for room in rooms],
        "paths": paths,
        "components": {
            "schemas": named,
            "securitySchemes": {
                "Bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A user's token, or a key, or with an OIDC_ISSUER its ID or "
                    "access token. Where none is needed, any other token is ignored.",
                },
                "ApiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": API_KEY.name,
                    "description": API_KEY.description,
                },
            },
        },
    }


def _used(paths: Json, named: Json) -> Json:
    """The schemas that something refers to. Of some types, Pydantic describes further ones."""
    used: set[str] = set()
    unseen = set(_REFERENCE.findall(json.dumps(paths)))
    while unseen:
        used |= unseen
        found = json.dumps([named[name] for name in unseen])
        unseen = set(_REFERENCE.findall(found)) - used
    return {name: schema for name, schema in named.items() if name in used}


def _show_examples(paths: dict[str, Json]) -> None:
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    for item in paths.values():
        for operation in item.values():
            example = examples.get(operation["operationId"])
            if example is None:
                continue
            for parameter in operation["parameters"]:
                if parameter["name"] in example["parameters"]:
                    parameter["example"] = example["parameters"][parameter["name"]]
            if "request" in example:
                operation["requestBody"]["content"][JSON]["example"] = example["request"]
            if "response" in example:
                answered = next(r for status, r in operation["responses"].items() if status < "3")
                media_type, body = example["response"].values()
                answered["content"][media_type]["example"] = body


def _explain(described: Any) -> None:
    """Add what the glossary says to each field and parameter that says nothing itself."""
    if isinstance(described, list):
        for each in described:
            _explain(each)
    elif isinstance(described, dict):
        for name, field in _fields_of(described):
            if "description" not in field and name in glossary.WORDS:
                field["description"] = glossary.WORDS[name]
        for name, each in described.items():
            if name not in ("example", "examples", "default", "enum", "const"):
                _explain(each)


def _fields_of(described: Json) -> Iterator[tuple[str, Json]]:
    if "in" in described and "schema" in described:
        yield described["name"], described
    fields = described.get("properties")
    if isinstance(fields, dict):
        yield from ((name, field) for name, field in fields.items() if isinstance(field, dict))


def _room(module: str) -> str:
    """The module of a resource, or for a dialect the package of all its modules."""
    return ".".join(module.split(".")[:2])


def _tag(room: str) -> str:
    return room.rsplit(".", maxsplit=1)[-1]


def _purpose(room: str) -> str:
    return (sys.modules[room].__doc__ or "").partition("\n")[0]


def _operation(
    route: RouteEntry, endpoint: Endpoint, of_bodies: Schemas, require_api_key: bool
) -> Json:
    summary, _, description = (getdoc(endpoint.function) or "").partition("\n")
    operation: Json = {
        "operationId": endpoint.function.__name__,
        "tags": [_tag(_room(endpoint.function.__module__))],
        "summary": summary,
        "description": description.strip(),
        "parameters": list(_parameters(route, endpoint)),
        "responses": _responses(route, endpoint, of_bodies),
    }
    operation["security"] = []
    if endpoint.authentication:
        operation["security"] = [{"ApiKey": []}, {"Bearer": []}]
        if not (endpoint.authentication.key_always or require_api_key):
            operation["security"].append({})  # nothing is needed
    if endpoint.body_model:
        content = {JSON: {"schema": of_bodies[endpoint, "validation"]}}
        operation["requestBody"] = {"required": endpoint.needs_body, "content": content}
    return operation


def _parameters(route: RouteEntry, endpoint: Endpoint) -> Iterator[Json]:
    for name in route.view_args:
        yield openapi_schemas.path_parameter(name, endpoint.path[name])
    yield from openapi_schemas.parameters("query", endpoint.query_model)
    yield from openapi_schemas.parameters("header", endpoint.headers_model)
    if endpoint.authentication:
        user = endpoint.authentication.user_always and openapi_schemas.SignedOnUser
        yield from openapi_schemas.parameters("header", user or openapi_schemas.User)
        if endpoint.authentication.is_openai:
            yield from openapi_schemas.parameters("header", openapi_schemas.OpenAIProject)
    if _takes_key(route):
        yield from openapi_schemas.parameters("header", openapi_schemas.Retry)


def _takes_key(route: RouteEntry) -> bool:
    """Whether an Idempotency-Key means something to the route."""
    return route.method == "POST" and not route.view_function.endpoint.is_idempotent


def _links(route: RouteEntry, routes: list[RouteEntry]) -> Json:
    """What can be asked about the thing that the route makes. The answer has its `id`."""
    below = f"{route.uri_pattern}/{{"
    of_thing = {
        other.uri_pattern.removeprefix(below).partition("}")[0]
        for other in routes
        if other.uri_pattern.startswith(below)
    }
    if (
        route.method != "POST"
        or not of_thing
        or route.view_function.endpoint.media_types[0] != JSON
    ):
        return {}
    (thing,) = of_thing
    returns = route.view_function.endpoint.returns
    answered = [field.name for field in fields(returns)] if is_dataclass(returns) else []
    known = {
        **{name: f"$response.body#/{name}" for name in answered},
        **{name: f"$request.path.{name}" for name in route.view_args},
        thing: "$response.body#/id",
    }
    return {
        name: {
            "operationId": name,
            "parameters": {parameter: known[parameter] for parameter in other.view_args},
        }
        for other in routes
        for name in [other.view_function.endpoint.function.__name__]
        if thing in other.view_args and known.keys() >= set(other.view_args)
    }


def _responses(route: RouteEntry, endpoint: Endpoint, of_bodies: Schemas) -> dict[str, Json]:
    sent = [*endpoint.sends, *([IDEMPOTENT_REPLAYED] if _takes_key(route) else ())]
    success = _response(HTTPStatus(endpoint.status).phrase, sent)
    if endpoint.status != HTTPStatus.NO_CONTENT:
        of_json = of_bodies[endpoint, "serialization"]
        success["content"] = {
            media_type: {"schema": of_json if media_type == JSON else {"type": "string"}}
            for media_type in endpoint.media_types
        }
    responses = {str(endpoint.status): success}
    if endpoint.if_known:
        known = "It was stored before, and is answered as it is now."
        responses[str(endpoint.if_known)] = {**success, "description": known}
    if endpoint.if_none:
        responses[str(endpoint.if_none)] = _response("There is nothing to tell.", ())
    if "If-None-Match" in _names(endpoint):
        responses["304"] = _response("It has not changed.", endpoint.sends)
    dialect = problems.dialect_of(route.uri_pattern)
    status_of = dialect.status_of if dialect else attrgetter("status")
    kinds = sorted(_kinds(route, endpoint), key=status_of)
    for status, group in groupby(kinds, key=status_of):
        headers = PROBLEM_HEADERS.get(status, [])
        if status == HTTPStatus.BAD_GATEWAY and SHOULD_RETRY in endpoint.sends:
            headers = [*headers, SHOULD_RETRY]
        responses[str(status)] = _problem(list(group), headers, dialect)
    responses["default"] = _problem([], [], dialect)
    if endpoint.authentication:
        of_the_known = _response("", (RATE_LIMIT, RATE_LIMIT_POLICY))["headers"]
        for response in responses.values():
            response["headers"].update(of_the_known)
    return responses


def _response(description: str, headers: Iterable[str]) -> Json:
    return {
        "description": description,
        "headers": {
            name: {"description": RESPONSE_HEADERS[name], "schema": {"type": "string"}}
            for name in (*headers, REQUEST_ID)
        },
    }


def _problem(kinds: list[Kind], headers: list[str], dialect: Dialect | None) -> Json:
    """The answer to one of `kinds`. With none, to any other problem."""
    body = dialect.body if dialect else openapi_schemas.Problem
    schema: Json = {"$ref": openapi_schemas.REF.format(model=body.__name__)}
    if kinds and not dialect:
        types = list(dict.fromkeys(kind.type for kind in kinds))
        schema["properties"] = {"type": {"enum": types, "description": "Which of these it is."}}
    titles = [kind.title for kind in kinds] or ["Any other problem"]
    response = _response(" ".join(f"{title}." for title in titles), headers)
    media_type = dialect.media_type if dialect else problems.MEDIA_TYPE
    return {**response, "content": {media_type: {"schema": schema}}}


def _kinds(route: RouteEntry, endpoint: Endpoint) -> Iterator[Kind]:
    """What can go wrong with a request that is sent as documented."""
    yield from (kind for name, kind in IMPLIED.items() if name in _names(endpoint))
    yield from endpoint.problems
    yield from (problems.INVALID, problems.INTERNAL, problems.UNAVAILABLE)
    if endpoint.authentication:
        yield problems.UNAUTHENTICATED
        yield problems.OTHER_USER  # X-User-Id beside a user's token
        yield problems.SIGN_ON_UNAVAILABLE
        if endpoint.authentication.never_token:
            yield problems.KEY_NEEDED
        if endpoint.authentication.is_openai or endpoint.authentication.all_projects:
            yield problems.OTHER_PROJECT  # in OpenAI-Project, or the key's
        yield problems.RATE_LIMITED
        if route.method not in SAFE_METHODS:
            yield problems.READ_ONLY
        if endpoint.authentication.user_always:
            yield problems.NOT_SIGNED_ON
    if endpoint.body_model:
        yield problems.MALFORMED
        yield problems.REPEATED_HEADER  # elsewhere it is one of the "default"
        yield problems.PAYLOAD_TOO_LARGE
        yield problems.UNSUPPORTED_MEDIA_TYPE
    if _takes_key(route):
        yield problems.IDEMPOTENCY_KEY_REUSED
        if endpoint.takes_claim:
            yield problems.REQUEST_IN_PROGRESS
    if endpoint.status != HTTPStatus.NO_CONTENT:
        yield problems.RESPONSE_TOO_LARGE


def _names(endpoint: Endpoint) -> set[str]:
    """The names of all parameters and fields that a request may have."""
    names = set(endpoint.path_types)
    for model in (endpoint.query_model, endpoint.headers_model, endpoint.body_model):
        fields = getattr(model, "model_fields", {})  # a body may be a union of models
        names |= {field.alias or name for name, field in fields.items()}
    return names
