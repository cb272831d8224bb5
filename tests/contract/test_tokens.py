"""Users' tokens: what an app that holds one sees, and when it ends."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.support.clients import Api, assert_problem
from tests.support.identity_provider import IdentityProvider

CONVERSATIONS, TOKENS = "/api/v1/conversations", "/api/v1/tokens"


@pytest.fixture
def app_of(
    api: Api, project: str, connect: Callable[[], AbstractContextManager[Api]]
) -> Callable[[str], dict[str, str | None]]:
    """`app_of("alice")` are the headers of an app of hers, which has a token and no key."""

    def headers(user_id: str) -> dict[str, str | None]:
        body = {"user_id": user_id, "project_id": project, "expires_in": 60}
        made = api.post(TOKENS, body)
        assert made.status == 201
        assert list(made.json) == ["token", "expires_at"]
        return {"X-API-Key": None, "Authorization": f"Bearer {made.json['token']}"}

    return headers


def test_an_app_sees_what_is_its_users(
    api: Api, project: str, app_of: Callable[[str], dict[str, str | None]]
):
    alice, bob = app_of("alice"), app_of("bob")
    made = api.post(CONVERSATIONS, {"project_id": project}, headers=alice).json
    assert made["user_id"] == "alice"
    path = f"{CONVERSATIONS}/{made['id']}"
    assert api.get(path, headers=alice).status == 200
    assert_problem(api.get(path, headers=bob), 404, "conversation-not-found")
    listed = api.get(CONVERSATIONS, headers=alice, project_id=project).json["conversations"]
    assert [each["id"] for each in listed] == [made["id"]]
    sso = api.get(f"/projects/{project}/sso/conversations", headers=alice).json
    assert [each["id"] for each in sso["data"]] == [made["id"]]
    assert api.get(f"/v1/conversations/{made['id']}", headers=alice).status == 200
    other = {"project_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}
    assert_problem(api.post(CONVERSATIONS, other, headers=alice), 403, "other-project")
    assert_problem(api.post(TOKENS, {"user_id": "bob"}, headers=alice), 403, "key-needed")


def test_who_signs_on_at_the_provider_sees_what_is_theirs(
    api: Api, project: str, everybodys_provider: IdentityProvider
):
    alice, bob = (
        {"X-API-Key": None, "Authorization": f"Bearer {everybodys_provider.sign_on(user)}"}
        for user in ("alice@example.org", "bob@example.org")
    )
    made = api.post(CONVERSATIONS, {"project_id": project}, headers=alice).json
    assert made["user_id"] == "alice@example.org"
    sso = f"/projects/{project}/sso/conversations"
    assert [each["id"] for each in api.get(sso, headers=alice).json["data"]] == [made["id"]]
    assert api.get(sso, headers=bob).json["data"] == []
    path = f"{CONVERSATIONS}/{made['id']}"
    assert_problem(api.get(path, headers=bob), 404, "conversation-not-found")
    forged = everybodys_provider.token("alice@example.org", aud="another app")
    headers = {"X-API-Key": None, "Authorization": f"Bearer {forged}"}
    assert_problem(api.get(path, headers=headers), 401, "unauthenticated")


def test_a_users_tokens_are_ended(
    api: Api, project: str, app_of: Callable[[str], dict[str, str | None]]
):
    alice, bob = app_of(f"alice {project}"), app_of(f"bob {project}")
    assert api.request("DELETE", TOKENS, user_id=f"alice {project}").status == 204
    assert_problem(api.get(CONVERSATIONS, headers=alice), 401, "unauthenticated")
    assert api.get(CONVERSATIONS, headers=bob).status == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"user_id": ""}, {"user_id": "a", "expires_in": 2_592_001}, {"user_id": "a", "x": 1}],
)
def test_a_token_that_makes_no_sense_is_refused(api: Api, body: dict[str, object]):
    assert_problem(api.post(TOKENS, body), 422, "invalid")
