"""Tests every problem on every route: its shape, and that the OpenAPI document has it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import jwt
import pytest
from chalice.app import RouteEntry
from cryptography.hazmat.primitives.asymmetric import ec

from app import app
from db import api_keys, conversations, messages, user_tokens
from db.clock import new_id
from db.engine.database import database
from db.errors import ConversationNotFound, Unavailable
from db.messages import Draft
from db.models import Conversation
from db.scope import EVERYTHING, Scope
from handlers.http import middleware, problems
from handlers.http.endpoint import MAX_BODY_BYTES
from handlers.http.openapi import describe
from handlers.http.problems import Kind
from handlers.llm import turns

from .support.clients import Answer, Api, assert_problem
from .support.world import PROJECT, ROUTES, USER, World, make_world, name_of, request_for

KINDS = [value for value in vars(problems).values() if isinstance(value, Kind)]


class Scene(NamedTuple):
    """A route, and all that is needed to make a request to it fail."""

    route: RouteEntry
    api: Api
    world: World
    strangers_key: str
    monkeypatch: pytest.MonkeyPatch
    configure: Callable[..., None]

    def send(self, world: World | None = None, **rest: object) -> Answer:
        return request_for(self.route, world or self.world).send(self.api, **rest)

    def send_also(self, **fields: object) -> Answer:
        """Send the request with more fields in its body."""
        request = request_for(self.route, self.world)
        return request._replace(json={**(request.json or {}), **fields}).send(self.api)

    def send_with(self, **headers: str | None) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(headers=named)

    def fails_with(self, error: Exception) -> Answer:
        def fail(**arguments: object) -> None:
            raise error

        self.monkeypatch.setattr(self.route.view_function.endpoint, "function", fail)
        return self.send()


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    api: Api,
    strangers_key: str,
    monkeypatch: pytest.MonkeyPatch,
    configure: Callable[..., None],
) -> Scene:
    api.headers["X-User-Id"] = USER
    return Scene(request.param, api, make_world(), strangers_key, monkeypatch, configure)


def ask_too_often(scene: Scene) -> Answer:
    scene.configure(rate_limit=1)
    scene.send()
    return scene.send()


def make_key(**limits: Any) -> str:
    plain, _ = api_keys.make(**limits)
    database.close()
    return plain


def make_token(user_id: str, project_id: str | None) -> str:
    plain, _ = user_tokens.make(user_id, project_id, 60)
    database.close()
    return plain


def sign_on_at_a_provider_that_is_away(scene: Scene) -> Answer:
    scene.configure(oidc_issuer="http://localhost:9", oidc_audience="app")
    token = jwt.encode({"sub": USER}, ec.generate_private_key(ec.SECP256R1()), "ES256")
    return scene.send_with(X_API_Key=None, Authorization=f"Bearer {token}")


def reuse_a_key(scene: Scene) -> Answer:
    headers = {"Idempotency-Key": "k"}
    if scene.route.view_function.endpoint.narrows:  # each project has keys of its own
        path = f"/projects/{PROJECT}/conversations/{scene.world.conversation_id}/archive"
        scene.api.request("POST", path, headers=headers, is_archived="false")
    else:
        first = {"project_id": PROJECT, "title": "Another request"}
        scene.api.post("/api/v1/conversations", first, headers=headers)
    return scene.send_with(Idempotency_Key="k")


def answer_too_much(scene: Scene) -> Answer:
    scene.monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "confab")
    scene.monkeypatch.setattr(middleware, "MAX_RESPONSE_BYTES", 3)
    return scene.send()


def send_a_key_that_is_taken(scene: Scene) -> Answer:
    conversations.start(Scope(PROJECT, USER), PROJECT, key="taken")
    database.close()
    return scene.send_also(key="taken")


def restore_what_has_a_key_that_is_taken(scene: Scene) -> Answer:
    scope, id = Scope(PROJECT, USER), scene.world.conversation_id
    Conversation.update(key="taken").where(Conversation.id == id).execute()
    answer = request_for(scene.route, scene.world)  # puts it into the trash
    conversations.start(scope, PROJECT, key="taken")
    database.close()
    return answer.send(scene.api)


def go_on_after_a_backup_was_restored(scene: Scene) -> Answer:
    cursor = scene.send().json["cursor"]
    Conversation.update(changed=0).execute()
    database.close()
    return scene.send(after=cursor)


def send_a_client_id(scene: Scene) -> Answer:
    body = request_for(scene.route, scene.world).json or {}
    if "messages" not in body:
        return scene.send_also(client_id="c")
    return scene.send_also(messages=[{**each, "client_id": "c"} for each in body["messages"]])


def reuse_a_client_id(scene: Scene) -> Answer:
    other = [Draft("system", "Another message", client_id="c")]
    messages.append(EVERYTHING, scene.world.conversation_id, other)
    database.close()
    return send_a_client_id(scene)


def repeat_a_message_that_was_deleted(scene: Scene) -> Answer:
    send_a_client_id(scene)
    with suppress(ConversationNotFound):  # the route may be one of the trash
        for row in messages.page_for(EVERYTHING, scene.world.conversation_id).rows:
            if row.client_id is not None:
                messages.remove(EVERYTHING, row.conversation_id, row.id)
    database.close()
    return send_a_client_id(scene)


def submit_what_was_deleted(scene: Scene, text: str = "Hello") -> Answer:
    scene.send()
    conversation_id = scene.world.conversation_id
    for row in messages.page_for(EVERYTHING, conversation_id).rows:
        if row.client_id is not None:
            messages.remove(EVERYTHING, conversation_id, row.id)
    database.close()
    parts = [{"type": "text", "text": text}]
    return scene.send_also(messages=[{"id": "1", "role": "user", "parts": parts}])


def hold_the_conversation(scene: Scene) -> Answer:
    conversations.change(EVERYTHING, scene.world.conversation_id, is_held=True)
    database.close()
    return scene.send()


def append_to_a_finished_message(scene: Scene) -> Answer:
    request = request_for(scene.route, scene.world)
    request._replace(json={**request.json, "status": "completed"}).send(scene.api)
    return request._replace(json={**request.json, "offset": 1_000}).send(scene.api)


def meddle_with_the_answer(scene: Scene, meddle: Callable[[str, str], object]) -> Answer:
    def ask(*asked: object) -> Iterator[str]:
        yield "Hel"
        id = scene.world.conversation_id
        meddle(id, str(conversations.find(EVERYTHING, id).last_message_id))
        yield "lo"

    scene.monkeypatch.setattr(turns, "ask", ask)
    return scene.send()


def repeat_while_the_first_runs(scene: Scene) -> Answer:
    answers = []

    def ask(*asked: object) -> Iterator[str]:
        answers.append(scene.send_with(Idempotency_Key="k"))
        yield "Hello"

    scene.monkeypatch.setattr(turns, "ask", ask)
    assert scene.send_with(Idempotency_Key="k").status == 200
    return answers[0]


def ask_a_model_that_is_away(scene: Scene) -> Answer:
    scene.configure(chat_base_url="http://127.0.0.1:1")
    return scene.send()


def turn_the_pages_off(scene: Scene) -> Answer:
    scene.configure(console="false")
    return scene.send()


PROVOKE: dict[Kind, Callable[[Scene], Answer]] = {
    problems.MALFORMED: lambda scene: scene.send(body=b'{"title": '),
    problems.UNAUTHENTICATED: lambda scene: scene.send_with(X_API_Key=None),
    problems.NOT_SIGNED_ON: lambda scene: scene.send_with(X_User_Id=None),
    problems.OTHER_PROJECT: lambda scene: scene.send_with(
        X_API_Key=scene.strangers_key, OpenAI_Project=PROJECT
    ),
    problems.NO_CONVERSATION: lambda scene: scene.send(
        scene.world._replace(conversation_id=new_id())
    ),
    problems.NO_MESSAGE: lambda scene: scene.send(scene.world.without_message),
    problems.NO_PAGE: turn_the_pages_off,
    problems.OTHER_USER: lambda scene: scene.send_with(
        X_API_Key=None, Authorization=f"Bearer {make_token(USER, PROJECT)}", X_User_Id="mallory"
    ),
    problems.RATE_LIMITED: ask_too_often,
    problems.READ_ONLY: lambda scene: scene.send_with(X_API_Key=make_key(is_read_only=True)),
    problems.KEY_NEEDED: lambda scene: scene.send_with(
        X_API_Key=None, Authorization=f"Bearer {make_token(USER, PROJECT)}"
    ),
    problems.HOLD_NOT_ALLOWED: lambda scene: scene.send_also(is_held=True),
    problems.CURSOR_EXPIRED: go_on_after_a_backup_was_restored,
    problems.KEY_TAKEN: send_a_key_that_is_taken,
    problems.CLIENT_ID_REUSED: reuse_a_client_id,
    problems.MESSAGE_DELETED: repeat_a_message_that_was_deleted,
    problems.HELD: hold_the_conversation,
    problems.OFFSET_CONFLICT: lambda scene: (
        request_for(scene.route, scene.world)
        ._replace(json={"offset": 1_000, "delta": "!"})
        .send(scene.api)
    ),
    problems.STREAM_FINISHED: append_to_a_finished_message,
    problems.REQUEST_IN_PROGRESS: repeat_while_the_first_runs,
    problems.STALE_PRECONDITION: lambda scene: scene.send_with(If_Match='"99"'),
    problems.PAYLOAD_TOO_LARGE: lambda scene: scene.send(body=b" " * (MAX_BODY_BYTES + 1)),
    problems.UNSUPPORTED_MEDIA_TYPE: lambda scene: scene.send_with(Content_Type="text/xml"),
    # The console takes any parameter that a provider sends people back with, but each one once.
    problems.INVALID: lambda scene: scene.send(unknown_parameter=1, state=["a", "b"]),
    problems.IDEMPOTENCY_KEY_REUSED: reuse_a_key,
    problems.RESPONSE_TOO_LARGE: answer_too_much,
    problems.INTERNAL: lambda scene: scene.fails_with(RuntimeError("the password is tiger")),
    problems.MODEL_FAILED: ask_a_model_that_is_away,
    problems.UNAVAILABLE: lambda scene: scene.fails_with(Unavailable("locked")),
    problems.SIGN_ON_UNAVAILABLE: sign_on_at_a_provider_that_is_away,
}
# A chat writes its own message, so these problems come from changes to that message.
IN_CHAT: dict[Kind, Callable[[str, str], object]] = {
    problems.NO_MESSAGE: lambda *message: messages.remove(EVERYTHING, *message),
}


# Where another request than in `PROVOKE` is needed.
OF_ROUTES: dict[tuple[str, Kind], Callable[[Scene], Answer]] = {
    ("get_conversation", problems.NO_MESSAGE): lambda scene: scene.send(branch=new_id()),
    ("list_messages", problems.NO_MESSAGE): lambda scene: scene.send(branch=new_id()),
    ("get_context", problems.NO_MESSAGE): lambda scene: scene.send(leaf=new_id()),
    ("restore_conversation", problems.KEY_TAKEN): restore_what_has_a_key_that_is_taken,
    # It begins one that is not there.
    ("submit_to_chat", problems.NO_CONVERSATION): lambda scene: meddle_with_the_answer(
        scene, lambda conversation_id, _: conversations.remove(EVERYTHING, conversation_id)
    ),
    ("submit_to_chat", problems.MESSAGE_DELETED): submit_what_was_deleted,
    ("submit_to_chat", problems.CLIENT_ID_REUSED): lambda scene: submit_what_was_deleted(
        scene, "Another text"
    ),
    # It would create one that never existed.
    ("append_project_messages", problems.NO_CONVERSATION): lambda scene: scene.send(
        make_world(user_id="mallory")
    ),
}


def provoke(scene: Scene, kind: Kind) -> Answer:
    name = name_of(scene.route)
    if name == "chat" and kind in IN_CHAT:
        return meddle_with_the_answer(scene, IN_CHAT[kind])
    return OF_ROUTES.get((name, kind), PROVOKE[kind])(scene)


def status_of(route: RouteEntry, kind: Kind) -> int:
    dialect = problems.dialect_of(route.uri_pattern)
    return dialect.status_of(kind) if dialect else kind.status


def is_documented(route: RouteEntry, kind: Kind) -> bool:
    operation = describe(app)["paths"][route.uri_pattern][route.method.lower()]
    status = status_of(route, kind)
    if str(status) not in operation["responses"]:
        return False
    return f"{kind.title}." in operation["responses"][str(status)]["description"]


PAIRS = [(route, kind) for route in ROUTES for kind in PROVOKE]
DOCUMENTED = [(route, kind) for route, kind in PAIRS if is_documented(route, kind)]
# A route that does not document these problems has no input that could cause them.
OF_ONE_ROUTE = {
    problems.OFFSET_CONFLICT,
    problems.STREAM_FINISHED,
    problems.REQUEST_IN_PROGRESS,
    problems.MODEL_FAILED,
    problems.CURSOR_EXPIRED,
}
OF_BODIES = {problems.MALFORMED, problems.PAYLOAD_TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE}


def pairs(chosen: list[tuple[RouteEntry, Kind]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("scene", "kind"),
        chosen,
        indirect=["scene"],
        ids=[f"{name_of(route)}-{kind.slug}" for route, kind in chosen],
    )


def test_every_kind_of_problem_has_its_test():
    elsewhere = {problems.METHOD_NOT_ALLOWED, problems.MISDIRECTED, problems.REPEATED_HEADER}
    of_servers = {
        problems.MALFORMED_REQUEST,
        problems.UNKNOWN_PATH,
        problems.REQUEST_TIMEOUT,
        problems.HEAD_TOO_LARGE,
        problems.UNKNOWN_CODING,
    }
    assert {*PROVOKE, *elsewhere, *of_servers} == set(KINDS)


@pairs(DOCUMENTED)
def test_a_route_answers_each_documented_problem(scene: Scene, kind: Kind):
    answer = provoke(scene, kind)
    assert_problem(answer, kind.status, kind.slug)
    assert answer.status == status_of(scene.route, kind)
    assert answer.headers["access-control-allow-origin"] == "*"


@pairs([(r, k) for r, k in PAIRS if (r, k) not in DOCUMENTED and k not in OF_ONE_ROUTE | OF_BODIES])
def test_a_route_has_no_problem_that_is_not_documented(scene: Scene, kind: Kind):
    scene.configure(max_wait=1)  # for an answer in progress, which nobody writes
    answer = provoke(scene, kind)
    if answer.status >= 400:
        known = [k for r, k in DOCUMENTED if r is scene.route and status_of(r, k) == answer.status]
        assert known
        if problems.dialect_of(scene.route.uri_pattern) is None:
            assert answer.json["type"] in [k.type for k in known]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (path, method)
        for path, methods in app.routes.items()
        for method in ("PUT", "HEAD", "TRACE")
        if method not in methods
    ],
)
def test_a_method_that_a_path_lacks_is_405_with_what_it_allows(api: Api, path: str, method: str):
    answer = api.request(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == ", ".join(app.routes[path])
    assert answer.headers["access-control-allow-origin"] == "*"
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert_problem(answer, 405, "method-not-allowed")


def test_a_422_says_where_the_error_is(api: Api):
    answer = api.post("/api/v1/conversations", {"project_id": "x", "titel": "Typo"})
    problem = assert_problem(answer, 422, "invalid")
    assert problem["errors"] == [
        {"loc": ["body", "project_id"], "msg": "must be a UUID", "type": "uuid"},
        {
            "loc": ["body", "titel"],
            "msg": "Extra inputs are not permitted",
            "type": "extra_forbidden",
        },
    ]
    assert problem["detail"] == "body.project_id: must be a UUID."
