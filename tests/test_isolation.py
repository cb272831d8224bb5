"""Tests on every route that nobody reaches what belongs to another project or user."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from chalice.app import RouteEntry
from cryptography.hazmat.primitives.asymmetric import rsa

from db import api_keys, user_tokens
from db.clock import new_id
from db.engine.database import database
from db.models import UserToken

from .support.clients import Answer, Api, assert_problem
from .support.clock import Clock
from .support.identity_provider import AUDIENCE, IdentityProvider
from .support.world import (
    OTHER_PROJECT,
    PROJECT,
    ROUTES,
    SECRET,
    USER,
    World,
    dump,
    make_world,
    name_of,
    request_for,
)

# They finish what a silent writer left open, along with any write, also of an outsider.
pytestmark = pytest.mark.usefixtures("no_chores")


class Told(NamedTuple):
    """The expected answers to another project's key, and to another user of the project.

    An answer is a problem's slug, or the name of the list that is empty, or NOTHING for a 204, or
    OWN if the request creates a conversation of the outsider's own.
    """

    stranger: str
    other_user: str


OWN = "their own"
NOTHING = "nothing to tell"
GONE = Told("conversation-not-found", "conversation-not-found")
OUTSIDERS = {
    "create_conversation": Told("other-project", OWN),
    "get_or_create_conversation": Told("other-project", OWN),
    "list_conversations": Told("other-project", "conversations"),
    "get_conversation": GONE,
    "change_conversation": GONE,
    "delete_conversation": GONE,
    "fork_conversation": GONE,
    "get_context": GONE,
    "export_conversation": GONE,
    "append_messages": GONE,
    "list_messages": GONE,
    "get_message": GONE,
    "edit_message": GONE,
    "delete_message": GONE,
    "append_to_message": GONE,
    "stop_conversation": GONE,
    "follow_conversation": GONE,
    "chat": GONE,
    "submit_to_chat": Told("other-project", OWN),
    "load_chat": Told("messages", "messages"),
    "resume_chat": Told(NOTHING, NOTHING),
    "stop_chat": Told(NOTHING, NOTHING),
    "list_changes": Told("other-project", "changes"),
    "search_messages": Told("other-project", "results"),
    "list_trash": Told("other-project", "conversations"),
    "restore_conversation": GONE,
    "purge_conversation": GONE,
    "list_projects": Told("projects", "projects"),
    "list_project_conversations": Told("other-project", "data"),
    "list_sso_conversations": Told("other-project", "data"),
    "archive_conversation": Told("other-project", "conversation-not-found"),
    "rename_conversation": Told("other-project", "conversation-not-found"),
    "delete_project_conversation": Told("other-project", "conversation-not-found"),
    "list_project_messages": Told("other-project", "conversation-not-found"),
    "append_project_messages": Told("other-project", "conversation-not-found"),
    "create_token": Told("other-project", "other-user"),
    # A stranger's key ends tokens for the stranger's own project.
    "end_tokens": Told(NOTHING, "other-user"),
    "create_openai_conversation": Told(OWN, OWN),
    "list_openai_conversations": Told("data", "data"),
    "get_openai_conversation": GONE,
    "update_openai_conversation": GONE,
    "delete_openai_conversation": GONE,
    "create_items": GONE,
    "list_items": GONE,
    "get_item": GONE,
    "delete_item": GONE,
    "create_response": GONE,
}
# They show no stored data.
PUBLIC = {"health", "openapi", "tell_metrics", "console", "console_file", "docs", "docs_file"}
PRIVATE_ROUTES = [route for route in ROUTES if name_of(route) not in PUBLIC]
KEYED_ROUTES = [
    route
    for route in PRIVATE_ROUTES
    if route.method == "POST" and not route.view_function.endpoint.is_idempotent
]
every_private_route = pytest.mark.parametrize("route", PRIVATE_ROUTES, ids=name_of)


def key(project_id: str | None = None) -> str:
    plain, _ = api_keys.make(project_id)
    database.close()
    return plain


def assert_told(answer: Answer, told: str, before: dict[str, list[Any]]) -> None:
    assert SECRET not in answer.body.decode()
    if told == OWN:
        if answer.headers["content-type"] != "text/event-stream":
            assert answer.json.get("messages", []) == []
        known = {row[0] for row in before["message"]}
        assert [row for row in dump()["message"] if row[0] in known] == before["message"]
    else:
        assert dump() == before
        if told == NOTHING:
            assert (answer.status, answer.body) == (204, b"")
        elif answer.status == 200:
            assert answer.json[told] == []
        else:
            assert_problem(answer, 403 if told.startswith("other-") else 404, told)


def test_every_route_has_an_expected_answer_to_outsiders():
    assert OUTSIDERS.keys() | PUBLIC == {name_of(route) for route in ROUTES}


@every_private_route
@pytest.mark.parametrize("user", [None, "mallory", USER])
def test_another_projects_key_finds_nothing_and_changes_nothing(
    api: Api, route: RouteEntry, user: str | None, strangers_key: str, clock: Clock
):
    request = request_for(route, make_world())
    clock.move(seconds=3600)  # the request must not finish the overdue message either
    before = dump()
    signed_on = user or ("mallory" if name_of(route) == "list_sso_conversations" else None)
    headers = {"X-API-Key": strangers_key, "X-User-Id": signed_on, "Idempotency-Key": "k"}
    answer = request.send(api, headers=headers)
    told = OUTSIDERS[name_of(route)].stranger
    if name_of(route) == "end_tokens" and user == "mallory":
        told = "other-user"
    assert_told(answer, told, before)


@every_private_route
@pytest.mark.parametrize("project", [None, PROJECT], ids=["key of all", "key of the project"])
def test_another_user_finds_nothing_and_changes_nothing(
    api: Api, route: RouteEntry, project: str | None, clock: Clock
):
    request = request_for(route, make_world())
    clock.move(seconds=3600)
    headers = {"X-API-Key": key(project), "X-User-Id": "mallory", "Idempotency-Key": "k"}
    before = dump()
    answer = request.send(api, headers=headers)
    assert_told(answer, OUTSIDERS[name_of(route)].other_user, before)


@every_private_route
def test_a_user_does_not_find_what_belongs_to_no_user(api: Api, route: RouteEntry):
    request = request_for(route, make_world(user_id=None))
    before = dump()
    answer = request.send(api, headers={"X-User-Id": "mallory"})
    assert_told(answer, OUTSIDERS[name_of(route)].other_user, before)


@every_private_route
def test_the_projects_key_without_a_user_reaches_all_of_it(api: Api, route: RouteEntry):
    headers = {"X-API-Key": key(PROJECT)}
    if name_of(route) == "list_sso_conversations":
        headers["X-User-Id"] = USER
    answer = request_for(route, make_world()).send(api, headers=headers)
    assert answer.status == route.view_function.endpoint.status


@pytest.mark.parametrize(
    "route",
    [
        route
        for route in PRIVATE_ROUTES
        if OUTSIDERS[name_of(route)].other_user in GONE
        and name_of(route) != "append_project_messages"  # it would create one that never existed
    ],
    ids=name_of,
)
def test_another_users_conversation_answers_like_one_that_never_existed(
    api: Api, route: RouteEntry
):
    def told(world: World) -> list[Any]:
        answer = request_for(route, world).send(api, headers={"X-User-Id": "mallory"})
        problem = assert_problem(answer, 404, "conversation-not-found")
        return [*problem, problem["title"], problem["detail"].replace(world.conversation_id, "")]

    world = make_world()
    never = world.without_message._replace(conversation_id=new_id())
    assert told(world) == told(never)


@pytest.mark.parametrize("route", KEYED_ROUTES, ids=name_of)
def test_an_idempotency_key_replays_no_other_callers_answer(api: Api, route: RouteEntry):
    request = request_for(route, make_world())

    def is_replayed(**headers: str) -> bool:
        answer = request.send(api, headers={"Idempotency-Key": "k", "X-User-Id": USER, **headers})
        return "idempotent-replayed" in answer.headers

    assert not is_replayed()
    assert is_replayed()
    assert not is_replayed(**{"X-User-Id": "mallory"})
    assert not is_replayed(**{"X-API-Key": key(PROJECT)})


@every_private_route
@pytest.mark.parametrize("plain", [None, "", "confab_unknown", "revoked"])
def test_every_route_refuses_a_request_without_a_valid_key(
    api: Api, route: RouteEntry, plain: str | None
):
    if plain == "revoked":
        plain, row = api_keys.make()
        api_keys.revoke(row.id)
        database.close()
    request = request_for(route, make_world())
    before = dump()
    answer = request.send(api, headers={"X-API-Key": plain, "X-User-Id": USER})
    assert_problem(answer, 401, "unauthenticated")
    challenge = 'ApiKey realm="confab", header="X-API-Key"'
    if route.uri_pattern.startswith("/v1/"):
        challenge = 'Bearer realm="confab"'
    assert answer.headers["www-authenticate"] == challenge
    assert dump() == before


@every_private_route
def test_an_open_stage_needs_no_key_for_api_v1_but_one_for_projects(
    api: Api, route: RouteEntry, configure
):
    configure(require_api_key="false")
    request = request_for(route, make_world())
    answer = request.send(api, headers={"X-API-Key": None, "X-User-Id": USER})
    if not route.view_function.endpoint.authentication.key_always:
        assert answer.status == route.view_function.endpoint.status
    else:
        assert_problem(answer, 401, "unauthenticated")


@every_private_route
def test_an_open_stage_refuses_an_unknown_key_too(api: Api, route: RouteEntry, configure):
    configure(require_api_key="false")
    request = request_for(route, make_world())
    answer = request.send(api, headers={"X-API-Key": "confab_unknown", "X-User-Id": USER})
    assert_problem(answer, 401, "unauthenticated")


def test_a_projects_key_lists_that_project_when_it_names_none(api: Api, strangers_key: str):
    make_world()
    own = make_world(OTHER_PROJECT)
    answer = api.get("/api/v1/conversations", headers={"X-API-Key": strangers_key})
    assert [row["id"] for row in answer.json["conversations"]] == [own.conversation_id]


# --- Users' tokens: our own, and those of an identity provider


def token(user_id: str = USER, project_id: str | None = PROJECT, key_id: str | None = None) -> str:
    plain, _ = user_tokens.make(user_id, project_id, 3600, key_id)
    database.close()
    return plain


@pytest.fixture(params=["our own", "a provider's"])
def token_for(
    request: pytest.FixtureRequest,
    identity_provider: IdentityProvider,
    configure: Callable[..., None],
) -> Callable[..., str]:
    """`token_for("alice", PROJECT)` is a bearer token."""
    if request.param == "our own":
        return token
    configure(
        oidc_issuer=identity_provider.url, oidc_audience=AUDIENCE, oidc_project_claim="tenant"
    )
    return lambda user=USER, project=PROJECT: identity_provider.token(user, tenant=project)


def bearer(token: str) -> dict[str, str | None]:
    return {"X-API-Key": None, "Authorization": f"Bearer {token}", "Idempotency-Key": "k"}


def needs_key(route: RouteEntry) -> bool:
    return bool(route.view_function.endpoint.authentication.never_token)


@every_private_route
def test_a_users_token_opens_what_is_the_users(
    api: Api, route: RouteEntry, token_for: Callable[..., str]
):
    answer = request_for(route, make_world()).send(api, headers=bearer(token_for()))
    if needs_key(route):
        assert_problem(answer, 403, "key-needed")
    else:
        assert answer.status == route.view_function.endpoint.status


@every_private_route
@pytest.mark.parametrize("whose", ["another user's", "another project's"])
def test_another_ones_token_finds_nothing_and_changes_nothing(
    api: Api, route: RouteEntry, whose: str, token_for: Callable[..., str]
):
    request = request_for(route, make_world())
    told = OUTSIDERS[name_of(route)]
    if whose == "another user's":
        plain, expected = token_for("mallory"), told.other_user
    else:
        plain, expected = token_for(USER, OTHER_PROJECT), told.stranger
    before = dump()
    answer = request.send(api, headers=bearer(plain))
    if needs_key(route):
        assert_problem(answer, 403, "key-needed")
        assert dump() == before
    else:
        assert_told(answer, expected, before)


@every_private_route
@pytest.mark.parametrize("end", ["expired", "revoked", "of a revoked key", "of an expired key"])
@pytest.mark.parametrize("require_api_key", ["true", "false"])
def test_a_token_that_is_not_good_any_more_opens_nothing(
    api: Api, route: RouteEntry, end: str, require_api_key: str, clock: Clock, configure
):
    configure(require_api_key=require_api_key)
    _, row = api_keys.make(PROJECT, days=1)
    plain = token(key_id=row.id)
    request = request_for(route, make_world())
    if end == "expired":
        clock.move(seconds=3601)
    elif end == "of an expired key":
        UserToken.update(expires_at="9999").execute()
        clock.move(seconds=86_401)
    elif end == "revoked":
        user_tokens.revoke_all(USER)
    else:
        api_keys.revoke(row.id)
    database.close()
    before = dump()
    answer = request.send(api, headers=bearer(plain))
    assert_problem(answer, 401, "unauthenticated")
    assert dump() == before


BAD = {
    "expired": {"exp": int(time.time()) - 3600},
    "of another time": {"nbf": int(time.time()) + 36_000},
    "for another app": {"aud": "another app"},
    "of another provider": {"iss": "https://id.example.org"},
    "of a key that is not known": {"headers": {"kid": "unknown"}},
    "forged": {"key": rsa.generate_private_key(65537, 2048)},
    "without a project": {"tenant": None},
}


@every_private_route
@pytest.mark.parametrize("why", BAD)
def test_a_providers_token_that_is_not_good_opens_nothing(
    api: Api,
    route: RouteEntry,
    why: str,
    identity_provider: IdentityProvider,
    configure: Callable[..., None],
):
    configure(
        require_api_key="false",  # not even where anybody may call
        oidc_issuer=identity_provider.url,
        oidc_audience=AUDIENCE,
        oidc_project_claim="tenant",
    )
    plain = identity_provider.token(USER, **{"tenant": PROJECT, **BAD[why]})
    request = request_for(route, make_world())
    before = dump()
    answer = request.send(api, headers=bearer(plain))
    assert_problem(answer, 401, "unauthenticated")
    assert dump() == before


@pytest.mark.parametrize("route", [r for r in PRIVATE_ROUTES if r.method != "GET"], ids=name_of)
def test_a_key_that_only_reads_changes_nothing(api: Api, route: RouteEntry):
    plain, _ = api_keys.make(is_read_only=True)
    database.close()
    request = request_for(route, make_world())
    before = dump()
    answer = request.send(api, headers={"X-API-Key": plain, "X-User-Id": USER})
    assert_problem(answer, 403, "read-only")
    assert dump() == before


@pytest.mark.parametrize("route", [r for r in PRIVATE_ROUTES if r.method == "GET"], ids=name_of)
def test_a_key_that_only_reads_reads_everything(api: Api, route: RouteEntry):
    plain, _ = api_keys.make(is_read_only=True)
    database.close()
    request = request_for(route, make_world())
    answer = request.send(api, headers={"X-API-Key": plain, "X-User-Id": USER})
    assert answer.status == route.view_function.endpoint.status


def test_a_token_speaks_for_nobody_else(api: Api):
    headers = {"X-API-Key": None, "Authorization": f"Bearer {token()}"}
    path = "/api/v1/conversations"
    assert api.get(path, headers={**headers, "X-User-Id": USER}).status == 200
    answer = api.get(path, headers={**headers, "X-User-Id": "mallory"})
    assert_problem(answer, 403, "other-user")


def test_a_token_sets_no_hold(api: Api):
    world = make_world()
    headers = {"X-API-Key": None, "Authorization": f"Bearer {token()}"}
    path = f"/api/v1/conversations/{world.conversation_id}"
    answer = api.patch(path, {"is_held": True}, headers=headers)
    assert_problem(answer, 403, "hold-not-allowed")
