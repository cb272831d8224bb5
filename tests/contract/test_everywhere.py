"""Tests what holds for every route, such as the shape of errors and CORS, and `/health`."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.clients import Api, assert_problem

CONVERSATIONS = "/api/v1/conversations"


@pytest.mark.parametrize("body", [b"{", b"", b"title=x", b'{"a": NaN}', b"[" * 100_000], ids=len)
def test_a_body_that_is_not_json_is_refused(body: bytes, api: Api):
    assert_problem(api.post(CONVERSATIONS, body=body), 400, "malformed-json")


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"{}", b'{"project_id": "\\ud800"}'])
def test_json_of_the_wrong_shape_is_refused(body: bytes, api: Api):
    assert api.post(CONVERSATIONS, body=body).status in (400, 422)


def test_an_unknown_field_is_refused_by_name(api: Api, project: str):
    answer = api.post(CONVERSATIONS, {"project_id": project, "titel": "x"})
    problem = assert_problem(answer, 422, "invalid")
    assert problem["errors"][0]["loc"] == ["body", "titel"]


def test_another_media_type_is_refused(api: Api, project: str):
    answer = api.post(CONVERSATIONS, {"project_id": project}, headers={"Content-Type": "text/xml"})
    assert_problem(answer, 415, "unsupported-media-type")


def test_a_body_that_is_too_large_is_refused(api: Api, conversation: dict[str, Any]):
    path = f"{CONVERSATIONS}/{conversation['id']}/messages"
    assert_problem(api.post(path, body=b" " * 6_000_001), 413, "payload-too-large")
    large = {"role": "user", "content": "x" * 4_000_000}
    assert api.post(path, large).status == 201


@pytest.mark.parametrize("id", ["x", "550e8400-e29b-41d4-a716", "%00", "1" * 500])
def test_a_malformed_id_is_refused(id: str, api: Api):
    problem = assert_problem(api.get(f"{CONVERSATIONS}/{id}"), 422, "invalid")
    assert problem["errors"][0]["loc"] == ["path", "conversation_id"]


def test_an_unknown_id_is_not_found(api: Api):
    assert_problem(api.get(f"{CONVERSATIONS}/{uuid4()}"), 404, "conversation-not-found")


def test_an_id_is_the_same_in_capitals(api: Api, conversation: dict[str, Any]):
    path = f"{CONVERSATIONS}/{conversation['id'].upper()}"
    assert api.get(path).json["id"] == conversation["id"]


@pytest.mark.parametrize(
    "path", ["/health", CONVERSATIONS, f"{CONVERSATIONS}/x", "/projects/x/conversations"]
)
def test_a_browser_may_read_every_answer_and_its_headers(path: str, api: Api):
    answer = api.get(path, headers={"X-API-Key": None})
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = answer.headers["access-control-expose-headers"].split(",")
    assert set(exposed) >= {
        "ETag", "Idempotent-Replayed", "Link", "Location", "Retry-After", "WWW-Authenticate",
        "X-Request-Id",
    }  # fmt: skip
    assert answer.headers["x-request-id"]


def test_a_browser_may_send_every_documented_header(api: Api):
    answer = api.request("OPTIONS", CONVERSATIONS, headers={"X-API-Key": None})
    assert answer.status == 200
    allowed = set(answer.headers["access-control-allow-headers"].lower().split(","))
    assert {
        "content-type", "idempotency-key", "if-match", "if-none-match", "last-event-id",
        "x-api-key", "x-user-id",
    } <= allowed  # fmt: skip
    methods = set(answer.headers["access-control-allow-methods"].split(","))
    assert methods == {"GET", "POST", "OPTIONS"}


def test_the_health_check_answers_ok(api: Api):
    answer = api.get("/health", headers={"X-API-Key": None})
    assert answer.status == 200
    assert list(answer.json) == ["status", "database", "schema"]
    assert answer.json["status"] == "ok"


def test_the_service_serves_its_openapi_document(api: Api):
    page = api.get("/openapi.json", headers={"X-API-Key": None}).json
    assert page["openapi"].startswith("3.1")
    assert CONVERSATIONS in page["paths"]
