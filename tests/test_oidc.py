"""Tests which tokens of an identity provider are good, and what they open."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from db import api_keys
from db.engine.database import database
from db.settings import Settings, SettingsError

from .support.clients import Api, assert_problem
from .support.identity_provider import AGE, AUDIENCE, IdentityProvider, signed
from .support.sign_on import LIST, Ask, refused
from .support.world import OTHER_PROJECT, PROJECT

SSO = f"/projects/{PROJECT}/sso/conversations"


# --- Whose token it is


def test_who_signs_on_at_the_provider_sees_what_is_theirs(
    api: Api, ask: Ask, provider: IdentityProvider
):
    alice, bob = (provider.sign_on(user) for user in ("alice", "bob"))
    headers = {"X-API-Key": None, "Authorization": f"Bearer {alice}"}
    made = api.post(LIST, {"project_id": PROJECT}, headers=headers)
    assert made.status == 201
    assert made.json["user_id"] == "alice"
    for path in (LIST, f"{SSO}?limit=1"):
        listed = next(iter(ask(alice, path).json.values()))
        assert [each["id"] for each in listed] == [made.json["id"]]
        assert next(iter(ask(bob, path).json.values())) == []
    assert_problem(ask(bob, f"{LIST}/{made.json['id']}"), 404, "conversation-not-found")


def test_a_token_beside_another_user_is_refused(ask: Ask, provider: IdentityProvider):
    token = provider.token("alice")
    assert ask(token, **{"X-User-Id": "alice"}).status == 200
    assert_problem(ask(token, **{"X-User-Id": "bob"}), 403, "other-user")


def test_a_token_makes_no_tokens_and_sets_no_hold(api: Api, provider: IdentityProvider):
    headers = {"X-API-Key": None, "Authorization": f"Bearer {provider.token()}"}
    answer = api.post("/api/v1/tokens", {"user_id": "alice"}, headers=headers)
    assert_problem(answer, 403, "key-needed")
    made = api.post(LIST, {"project_id": PROJECT}, headers=headers)
    answer = api.patch(f"{LIST}/{made.json['id']}", {"is_held": True}, headers=headers)
    assert_problem(answer, 403, "hold-not-allowed")


@pytest.mark.parametrize("setting", ["oidc_project", "oidc_project_claim"])
def test_a_token_opens_the_project_that_the_settings_or_its_claim_name(
    api: Api, ask: Ask, provider: IdentityProvider, configure: Callable[..., None], setting: str
):
    configure(**{setting: PROJECT if setting == "oidc_project" else "tenant"})
    token = provider.token(tenant=PROJECT)
    assert ask(token, SSO).status == 200
    other = f"/projects/{OTHER_PROJECT}/sso/conversations"
    assert_problem(ask(token, other), 403, "other-project")
    headers = {"X-API-Key": None, "Authorization": f"Bearer {token}"}
    assert api.post(LIST, {"project_id": PROJECT}, headers=headers).status == 201
    answer = api.post(LIST, {"project_id": OTHER_PROJECT}, headers=headers)
    assert_problem(answer, 403, "other-project")


def test_a_uuid_may_be_spelled_in_another_way(
    api: Api, provider: IdentityProvider, configure: Callable[..., None]
):
    configure(oidc_project=PROJECT.upper())
    headers = {"X-API-Key": None, "Authorization": f"Bearer {provider.token()}"}
    assert api.post(LIST, {"project_id": PROJECT}, headers=headers).status == 201


@pytest.mark.parametrize("tenant", [None, "", 7, ["a"], {"a": 1}, True, "a\0b", "x" * 256])
def test_a_token_whose_project_cannot_be_one_is_refused(
    ask: Ask, provider: IdentityProvider, configure: Callable[..., None], tenant: Any
):
    configure(oidc_project_claim="tenant")
    reason = refused(ask(provider.token(tenant=tenant)))
    assert reason == "The bearer token has no claim tenant that can be used."


@pytest.mark.parametrize("user", [None, "", " ", 7, ["a"], {"a": 1}, True, "a\0b", "x" * 256])
def test_a_token_whose_user_cannot_be_one_is_refused(
    ask: Ask, provider: IdentityProvider, configure: Callable[..., None], user: Any
):
    configure(oidc_user_claim="preferred_username")
    reason = refused(ask(provider.token(preferred_username=user)))
    assert reason == "The bearer token has no claim preferred_username that can be used."


def test_a_user_may_have_a_name_of_any_script(
    api: Api, provider: IdentityProvider, configure: Callable[..., None]
):
    configure(oidc_user_claim="name")
    headers = {"X-API-Key": None, "Authorization": f"Bearer {provider.token(name='Žofie 🙂')}"}
    made = api.post(LIST, {"project_id": PROJECT}, headers=headers)
    assert made.json["user_id"] == "Žofie 🙂"


@pytest.mark.parametrize("verified", [None, False, "true", 1])
def test_an_email_address_that_is_not_verified_is_nobody(
    ask: Ask, provider: IdentityProvider, configure: Callable[..., None], verified: Any
):
    configure(oidc_user_claim="email")
    email = "alice@example.org"
    assert ask(provider.token(email=email, email_verified=True)).status == 200
    reason = refused(ask(provider.token(email=email, email_verified=verified)))
    assert reason == "The bearer token has an email address that is not verified."


# --- Which tokens are good


def test_a_token_is_good_while_its_times_say_so_and_clocks_may_differ_a_little(
    ask: Ask, provider: IdentityProvider
):
    now = int(time.time())
    for claims in (
        {"exp": now - 30},
        {"iat": now + 30},
        {"nbf": now + 30},
        {"iat": None},
        {"exp": now + 1_000_000_000},
    ):
        assert ask(provider.token(**claims)).status == 200, claims


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": -AGE}, "has expired: sign on again"),
        ({"exp": -61}, "has expired: sign on again"),
        ({"iat": 120}, "is not good yet"),
        ({"nbf": 120}, "is not good yet"),
    ],
)
def test_a_token_of_another_time_is_refused(
    ask: Ask, provider: IdentityProvider, claims: dict[str, int], reason: str
):
    moved = {name: int(time.time()) + seconds for name, seconds in claims.items()}
    assert refused(ask(provider.token(**moved))) == f"The bearer token {reason}."


OTHER_AUDIENCE = "is for somebody else: see OIDC_AUDIENCE"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "another-app"}, OTHER_AUDIENCE),
        ({"aud": ["another-app", "a third one"]}, OTHER_AUDIENCE),
        ({"aud": {AUDIENCE: 1}}, OTHER_AUDIENCE),
        ({"aud": f"{AUDIENCE} "}, OTHER_AUDIENCE),
        ({"aud": AUDIENCE.upper()}, OTHER_AUDIENCE),
        ({"aud": []}, "has no claim aud"),
        ({"aud": None}, "has no claim aud"),
        ({"iss": "https://accounts.example.org"}, "is of another provider: see OIDC_ISSUER"),
        ({"iss": None}, "has no claim iss"),
        ({"exp": None}, "has no claim exp"),
        ({"exp": "tomorrow"}, "is not signed as it has to be"),
        ({"sub": None}, "has no claim sub that can be used"),
        ({"sub": 7}, "is not signed as it has to be"),
    ],
)
def test_a_token_for_or_of_somebody_else_is_refused(
    ask: Ask, provider: IdentityProvider, claims: dict[str, Any], reason: str
):
    assert refused(ask(signed(provider, claims))) == f"The bearer token {reason}."


@pytest.mark.parametrize("audience", [AUDIENCE, f"other {AUDIENCE}", f"{AUDIENCE} other"])
def test_an_audience_among_several_is_good(
    ask: Ask, provider: IdentityProvider, configure: Callable[..., None], audience: str
):
    configure(oidc_audience=audience)
    assert ask(provider.token(aud=["somebody else", AUDIENCE])).status == 200


def test_a_token_for_the_consoles_client_is_good(
    ask: Ask, provider: IdentityProvider, configure: Callable[..., None]
):
    configure(oidc_audience="", oidc_client_id="the-console")
    assert ask(provider.token(aud="the-console")).status == 200
    assert OTHER_AUDIENCE in refused(ask(provider.token()))


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def part(value: Any) -> str:
    return encoded(json.dumps(value).encode())


def sealed(payload: str, secret: Any, **head: Any) -> str:
    """A token with any head, signed by the algorithm that this names."""
    begin = f"{part(head)}.{payload}"
    algorithm: Any = jwt.algorithms.get_default_algorithms()[head["alg"]]
    return f"{begin}.{encoded(algorithm.sign(begin.encode(), secret))}"


def test_a_token_without_a_signature_is_refused(ask: Ask, provider: IdentityProvider):
    assert ask(provider.token()).status == 200
    _, payload, signature = provider.token("mallory").split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, [], {"RS256": 1}, ["RS256"]):
        for end in ("", signature):
            head = part({"alg": algorithm, "kid": provider.key_id, "typ": "JWT"})
            reason = refused(ask(f"{head}.{payload}.{end}"))
            assert reason == "The bearer token is signed by an algorithm that is not allowed."
    head = part({"alg": "RS256", "kid": provider.key_id})
    assert "not signed" in refused(ask(f"{head}.{payload}."))


def test_a_token_whose_secret_is_the_public_key_is_refused(ask: Ask, provider: IdentityProvider):
    assert ask(provider.token()).status == 200
    public = provider.private_key.public_key()
    (as_json,) = provider.public_keys
    secrets = [
        public.public_bytes(encoding, form)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
        for form in (
            serialization.PublicFormat.SubjectPublicKeyInfo,
            serialization.PublicFormat.PKCS1,
        )
    ]
    secrets += [json.dumps(as_json).encode(), as_json["n"].encode()]
    _, payload, _ = provider.token("mallory").split(".")
    for name in ("HS256", "HS384", "HS512"):
        for secret in secrets:
            token = sealed(payload, secret, alg=name, kid=provider.key_id, typ="JWT")
            reason = refused(ask(token))
            assert reason == "The bearer token is signed by an algorithm that is not allowed."


def test_a_token_of_another_key_is_refused_even_if_it_brings_the_key(
    ask: Ask, provider: IdentityProvider
):
    key = rsa.generate_private_key(65537, 2048)
    public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    for headers in (
        {},
        {"jwk": public},
        {"jku": "http://localhost:9/jwks", "x5u": "http://localhost:9/"},
    ):
        reason = refused(ask(provider.token("mallory", key=key, headers=headers)))
        assert reason == "The bearer token is not signed as it has to be."


def test_a_token_that_was_changed_is_refused(ask: Ask, provider: IdentityProvider):
    head, payload, signature = provider.token("alice").split(".")
    _, others, _ = provider.token("mallory").split(".")
    assert "not signed" in refused(ask(f"{head}.{others}.{signature}"))
    assert "not signed" in refused(ask(f"{head}.{payload}.{signature[:-8]}AAAAAAAA"))


@pytest.mark.parametrize(
    "headers",
    [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"typ": "logout+jwt"},
     {"typ": "secevent+jwt"}, {"typ": "dpop+jwt"}, {"typ": ""}],
)  # fmt: skip
def test_a_token_that_is_something_else_is_refused(
    ask: Ask, provider: IdentityProvider, headers: dict[str, Any]
):
    _, payload, _ = provider.token().split(".")
    head = {"alg": "RS256", "kid": provider.key_id, "typ": "JWT", **headers}
    assert ask(provider.token()).status == 200
    refused(ask(sealed(payload, provider.private_key, **head)))


def test_a_logout_token_is_refused(ask: Ask, provider: IdentityProvider):
    event = "http://schemas.openid.net/event/backchannel-logout"
    reason = refused(ask(provider.token(events={event: {}})))
    assert reason == "The bearer token is neither an ID token nor an access token."


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "JWT", "jwt", None])
def test_an_id_token_and_an_access_token_are_good(
    ask: Ask, provider: IdentityProvider, kind: str | None
):
    assert ask(provider.token(headers={"typ": kind})).status == 200


@pytest.mark.parametrize(
    "token",
    ["..", "a.b.c", "...", "e30.e30.", "e30.e30.e30", f"{'[' * 9000}.a.b", "\x80.\xff.a", "a..b"],
)
def test_what_is_no_token_is_refused(ask: Ask, provider: IdentityProvider, token: str):
    assert ask(token).status == 401


def test_a_token_with_half_a_surrogate_pair_is_refused(ask: Ask, provider: IdentityProvider):
    assert ask(signed(provider, {"sub": "\ud800"})).status == 401


# --- Settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"OIDC_ISSUER": "https://id.example.org"}, "OIDC_ISSUER needs OIDC_AUDIENCE"),
        ({"OIDC_AUDIENCE": "app"}, "OIDC_AUDIENCE needs OIDC_ISSUER"),
        ({"OIDC_CLIENT_ID": "app"}, "OIDC_CLIENT_ID needs OIDC_ISSUER"),
        ({"OIDC_PROJECT": "p"}, "OIDC_PROJECT needs OIDC_ISSUER"),
        ({"OIDC_PROJECT_CLAIM": "p"}, "OIDC_PROJECT_CLAIM needs OIDC_ISSUER"),
        ({"OIDC_ISSUER": "http://id.example.org"}, "OIDC_ISSUER is not usable"),
        ({"OIDC_ISSUER": "http://localhost.example.org"}, "OIDC_ISSUER is not usable"),
        ({"OIDC_ISSUER": "https://id.example.org/?a=b"}, "OIDC_ISSUER is not usable"),
        ({"OIDC_ISSUER": "https://user:secret@id.example.org"}, "OIDC_ISSUER is not usable"),
        ({"OIDC_ISSUER": "https://["}, "OIDC_ISSUER is not usable"),
        (
            {"OIDC_ISSUER": "https://i.org", "OIDC_AUDIENCE": "a", "OIDC_PROJECT": "p",
             "OIDC_PROJECT_CLAIM": "p"},
            "Set OIDC_PROJECT or OIDC_PROJECT_CLAIM, and not both.",
        ),
    ],
)  # fmt: skip
def test_a_provider_that_is_half_set_stops_the_start(given: dict[str, str], told: str):
    with pytest.raises(SettingsError) as stopped:
        Settings.read(given)
    assert str(stopped.value).startswith(told)


@pytest.mark.parametrize("issuer", ["https://id.example.org/realms/a", "http://127.0.0.1:8080"])
def test_an_issuer_is_an_https_url_or_on_this_machine(issuer: str):
    read = Settings.read({"OIDC_ISSUER": issuer, "OIDC_AUDIENCE": "a b", "OIDC_CLIENT_ID": "c"})
    assert read.oidc_audiences == ["a", "b", "c"]


def test_without_a_provider_a_jwt_is_an_unknown_token(api: Api, ask: Ask, configure: Any):
    head, payload = part({"alg": "RS256"}), part({"sub": "alice"})
    assert refused(ask(f"{head}.{payload}.AAAA")).startswith("The bearer token is not known")


def test_on_an_open_stage_a_bad_token_is_refused(
    ask: Ask, provider: IdentityProvider, configure: Callable[..., None]
):
    configure(require_api_key="false")
    expired = provider.token(exp=int(time.time()) - AGE)
    assert "expired" in refused(ask(expired))
    assert ask("any other token").status == 200


def test_a_key_is_still_found_as_a_bearer(ask: Ask, provider: IdentityProvider):
    plain, _ = api_keys.make(PROJECT)
    database.close()
    assert ask(plain).status == 200
