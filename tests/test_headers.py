"""Tests that the OpenAPI document, the checks and CORS agree with the table of headers."""

from collections.abc import Iterator
from typing import Any

import pytest

from app import app
from handlers.http import headers
from handlers.http.headers import (
    OPENAI_PROJECT,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    RequestHeader,
)
from handlers.http.openapi import describe

from .support.clients import Answer, Api, assert_problem
from .support.world import PROJECT, ROUTES, name_of

CHECKED = [header for header in REQUEST_HEADERS if header.max_length is not None]


def operations() -> Iterator[dict[str, Any]]:
    for methods in describe(app)["paths"].values():
        yield from methods.values()


def name(header: RequestHeader) -> str:
    return header.name


def listed(cors: dict[str, str], which: str) -> set[str]:
    return set(cors[f"Access-Control-{which}-Headers"].split(","))


def test_the_table_has_every_header_of_its_module():
    declared = {value for value in vars(headers).values() if isinstance(value, RequestHeader)}
    assert declared == set(REQUEST_HEADERS)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_route_takes_and_sends_only_declared_headers(route: Any):
    endpoint = route.view_function.endpoint
    assert set(endpoint.header_names) <= set(map(name, REQUEST_HEADERS))
    assert set(endpoint.sends) <= set(RESPONSE_HEADERS)


def test_the_document_describes_each_request_header_as_the_table_does():
    table = {header.name: header for header in REQUEST_HEADERS}
    seen = {"X-API-Key", "Authorization"}  # security schemes
    for operation in operations():
        for parameter in operation["parameters"]:
            if parameter["in"] == "header":
                declared = table[parameter["name"]]
                seen.add(parameter["name"])
                assert parameter["description"] == declared.description
                assert parameter["schema"].get("maxLength") == declared.max_length
    assert seen == set(table)


def test_the_document_has_each_response_header():
    told = {
        header
        for operation in operations()
        for response in operation["responses"].values()
        for header in response["headers"]
    }
    assert told == set(RESPONSE_HEADERS)


def test_a_browser_may_send_and_read_all_headers():
    cors = app.api.cors.get_access_control_headers()
    assert {text.lower() for text in listed(cors, "Allow")} >= {
        header.name.lower() for header in REQUEST_HEADERS
    }
    assert listed(cors, "Expose") == set(RESPONSE_HEADERS)
    assert {"Idempotent-Replayed", "WWW-Authenticate"} <= listed(cors, "Expose")


def send(api: Api, header: RequestHeader, value: str) -> Answer:
    """Create a conversation, with the header where it means something."""
    if header is OPENAI_PROJECT:
        return api.post("/v1/conversations", {}, headers={header.name: value})
    body = {"project_id": PROJECT}
    return api.post("/api/v1/conversations", body, headers={header.name: value})


@pytest.mark.parametrize("header", CHECKED, ids=name)
@pytest.mark.parametrize("value", ["", "  ", "x\0", "too long"])
def test_a_value_that_the_document_excludes_is_refused(api: Api, header: RequestHeader, value: str):
    if value == "too long":
        value = "x" * ((header.max_length or 0) + 1)
    answer = send(api, header, value)
    problem = assert_problem(answer, 422, "invalid")
    if header is not OPENAI_PROJECT:
        assert [error["loc"] for error in problem["errors"]] == [["header", header.name]]


@pytest.mark.parametrize("header", CHECKED, ids=name)
def test_the_longest_value_is_taken(api: Api, header: RequestHeader):
    assert send(api, header, "x" * (header.max_length or 0)).status in (200, 201)
