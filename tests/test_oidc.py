"""Tests sign-on by an identity provider: which tokens are good, also while it is away."""

import base64
import gzip
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from db import api_keys
from db.engine.database import database, may_wait
from db.settings import ON_LAMBDA, Settings, SettingsError
from handlers.http import identity_provider as ours
from handlers.http import logs

from .support.clients import Answer, Api, assert_problem, open_api
from .support.identity_provider import AGE, AUDIENCE, DOCUMENT, KEYS, IdentityProvider, signed
from .support.local_server import eventually
from .support.world import OTHER_PROJECT, PROJECT

LIST = "/api/v1/conversations"
SSO = f"/projects/{PROJECT}/sso/conversations"
Ask = Callable[..., Answer]


class MonotonicClock:
    """The seconds that `identity_provider` sees, which a test moves."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def move(self, seconds: float) -> None:
        """Let time pass. What is looked for meanwhile is found before."""
        assert eventually(lambda: ours.provider()._look is None)
        self.ahead += seconds


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> MonotonicClock:
    clock = MonotonicClock()
    monkeypatch.setattr(ours, "time", clock)
    return clock


@pytest.fixture
def provider(
    identity_provider: IdentityProvider, configure: Callable[..., None], waiting: MonotonicClock
) -> IdentityProvider:
    configure(oidc_issuer=identity_provider.url, oidc_audience=AUDIENCE)
    return identity_provider


@pytest.fixture
def ask(api: Api) -> Ask:
    """`ask(token)` lists conversations with it."""

    def send(token: str, path: str = LIST, **headers: str) -> Answer:
        sent = {"X-API-Key": None, "Authorization": f"Bearer {token}", **headers}
        return api.get(path, headers=sent)

    return send


def refused(answer: Answer) -> str:
    """Why a token was refused."""
    problem = assert_problem(answer, 401, "unauthenticated")
    challenge = 'Bearer realm="confab", error="invalid_token"'
    assert answer.headers["www-authenticate"] == challenge
    return str(problem["detail"])


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


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_without_a_signature_is_refused(ask: Ask, provider: IdentityProvider):
    assert ask(provider.token()).status == 200
    _, payload, signature = provider.token("mallory").split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, [], {"RS256": 1}, ["RS256"]):
        for sealed in ("", signature):
            head = part({"alg": algorithm, "kid": provider.key_id, "typ": "JWT"})
            reason = refused(ask(f"{head}.{payload}.{sealed}"))
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
        head = part({"alg": name, "kid": provider.key_id, "typ": "JWT"})
        algorithm: Any = jwt.algorithms.get_default_algorithms()[name]
        for secret in secrets:
            signature = algorithm.sign(f"{head}.{payload}".encode(), secret)
            sealed = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
            reason = refused(ask(f"{head}.{payload}.{sealed}"))
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
    head = part({"alg": "RS256", "kid": provider.key_id, "typ": "JWT", **headers})
    signature = jwt.algorithms.get_default_algorithms()["RS256"].sign(
        f"{head}.{payload}".encode(), provider.private_key
    )
    sealed = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    assert ask(provider.token()).status == 200
    refused(ask(f"{head}.{payload}.{sealed}"))


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


def test_all_algorithms_with_a_public_key_are_good(ask: Ask, provider: IdentityProvider):
    keys: list[dict[str, Any]] = []
    tokens = []
    of_rsa = rsa.generate_private_key(65537, 2048)
    for id, key, algorithms in (
        ("rsa", of_rsa, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        ("p256", ec.generate_private_key(ec.SECP256R1()), ["ES256"]),
        ("p384", ec.generate_private_key(ec.SECP384R1()), ["ES384"]),
        ("p521", ec.generate_private_key(ec.SECP521R1()), ["ES512"]),
        ("ed", ed25519.Ed25519PrivateKey.generate(), ["EdDSA"]),
    ):
        for form in (RSAAlgorithm, ECAlgorithm, OKPAlgorithm):
            try:
                public = json.loads(form.to_jwk(key.public_key()))  # type: ignore[attr-defined]
            except Exception:
                continue
            keys.append({**public, "kid": id})
        tokens += [
            provider.token(key=key, algorithm=algorithm, headers={"kid": id})
            for algorithm in algorithms
        ]
    provider.keys = keys
    assert [ask(token).status for token in tokens] == [200] * 10


def test_a_key_that_is_for_something_else_is_not_taken(ask: Ask, provider: IdentityProvider):
    (own,) = provider.public_keys
    weak = rsa.generate_private_key(65537, 1024)
    others = [
        {**own, "kid": "to encrypt", "use": "enc"},
        {**own, "kid": "of another algorithm", "alg": "RS512"},
        {**json.loads(RSAAlgorithm.to_jwk(weak.public_key())), "kid": "weak"},
        {"kty": "oct", "kid": "a secret", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken"},
        {"kid": "nothing"},
        "no key",
        None,
    ]
    provider.keys = [*others, own]
    assert ask(provider.token()).status == 200
    for id in ("to encrypt", "of another algorithm", "a secret", "broken", "nothing"):
        assert "signed by a key" in refused(ask(provider.token(headers={"kid": id})))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = provider.token(key=weak, headers={"kid": "weak"})
    assert "not signed" in refused(ask(token))


def test_a_token_without_the_id_of_a_key_is_good_if_there_is_one_key(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock
):
    token = provider.token(headers={"kid": None})
    assert ask(token).status == 200
    (own,) = provider.public_keys
    provider.keys = [own, {**own, "kid": "another"}]
    waiting.move(601)
    ask(token)  # from now on they are looked for
    waiting.move(0)
    assert "signed by a key" in refused(ask(token))


# --- Keys that change, and a provider that is away


def test_keys_are_fetched_once_for_all(ask: Ask, provider: IdentityProvider):
    for user in ("alice", "bob", "carol"):
        assert ask(provider.token(user)).status == 200
    assert provider.asked == {DOCUMENT: 1, KEYS: 1}


def test_a_new_key_is_fetched_when_it_is_needed(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock
):
    old = provider.token()
    assert ask(old).status == 200
    provider.rotate()
    waiting.move(61)
    assert ask(old).status == 200  # nobody has told us of it yet
    assert ask(provider.token()).status == 200
    assert "signed by a key" in refused(ask(old))
    assert provider.asked[KEYS] == 2


def test_a_key_that_is_withdrawn_is_not_good_ten_minutes_later(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock
):
    old = provider.token()
    assert ask(old).status == 200
    provider.rotate()
    waiting.move(601)
    assert ask(old).status == 200  # nobody waits for the look that begins now
    waiting.move(0)
    assert "signed by a key" in refused(ask(old))


def test_an_unknown_key_a_thousand_times_is_looked_for_once_a_minute(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock
):
    assert ask(provider.token()).status == 200
    waiting.move(61)
    for number in range(1000):
        token = provider.token(headers={"kid": f"no such key {number}"})
        assert "signed by a key" in refused(ask(token))
    assert provider.asked[KEYS] == 2
    waiting.move(59)
    refused(ask(token))
    assert provider.asked[KEYS] == 2
    waiting.move(2)
    refused(ask(token))
    assert provider.asked[KEYS] == 3


def test_known_keys_go_on_while_the_provider_is_away(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock
):
    known = provider.token()
    assert ask(known).status == 200
    provider.is_down = True
    for _ in range(10):
        waiting.move(3600)
        assert ask(known).status == 200
    # Nobody knows whether it is a new one.
    waiting.move(61)
    answer = ask(provider.token(headers={"kid": "new"}))
    assert_problem(answer, 503, "sign-on-unavailable")
    assert answer.headers["retry-after"] == "60"
    provider.is_down = False
    provider.rotate()
    waiting.move(61)
    assert ask(provider.token()).status == 200


def test_while_a_provider_was_never_there_its_users_are_told_to_come_again(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock, log: io.StringIO
):
    provider.is_down = True
    for _ in range(3):
        assert_problem(ask(provider.token()), 503, "sign-on-unavailable")
    assert provider.asked == {DOCUMENT: 1}  # it is not asked for each of them
    told = log.getvalue()
    assert told.count("OIDC_ISSUER does not give its keys: HTTPStatusError") == 1
    provider.is_down = False
    waiting.move(5)
    assert ask(provider.token()).status == 200


def test_keys_of_callers_do_not_need_the_provider(api: Api, provider: IdentityProvider):
    provider.is_down = True
    assert api.get(LIST).status == 200
    key = api.headers["X-API-Key"]
    assert (
        api.get(LIST, headers={"X-API-Key": None, "Authorization": f"Bearer {key}"}).status == 200
    )
    made = api.post("/api/v1/tokens", {"user_id": "alice"}).json["token"]
    answer = api.get(LIST, headers={"X-API-Key": None, "Authorization": f"Bearer {made}"})
    assert answer.status == 200
    assert not provider.asked


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    lines = io.StringIO()
    monkeypatch.setattr(logs._handler, "stream", lines)
    return lines


@pytest.mark.parametrize(
    "document",
    [{"issuer": "http://localhost/another"}, {"issuer": None}, {"jwks_uri": None},
     {"jwks_uri": 7}, {"jwks_uri": ["a"]}, {"jwks_uri": "nonsense"},
     {"jwks_uri": "ftp://localhost/"}, {"jwks_uri": "http://localhost:9/"}],
)  # fmt: skip
def test_a_provider_that_tells_nonsense_counts_as_away(
    ask: Ask, provider: IdentityProvider, document: dict[str, Any], log: io.StringIO
):
    provider.document = document
    assert_problem(ask(provider.token()), 503, "sign-on-unavailable")
    assert "OIDC_ISSUER does not give its keys" in log.getvalue()


@pytest.mark.parametrize("keys", [[], {}, "keys", [None], [{"kty": "oct", "k": "c2VjcmV0"}]])
def test_a_provider_without_a_usable_key_counts_as_away(
    ask: Ask, provider: IdentityProvider, keys: Any
):
    provider.keys = keys
    assert_problem(ask(provider.token()), 503, "sign-on-unavailable")


@pytest.mark.parametrize(
    ("content", "headers"),
    [(b"[" * 200_000, {}), (b"\xff", {}), (b"null", {}), (b"[]", {}), (b"", {}),
     (gzip.compress(b"{}"), {"Content-Encoding": "gzip"})],
    ids=["deep", "no text", "null", "a list", "nothing", "compressed"],
)  # fmt: skip
def test_a_provider_that_sends_something_else_counts_as_away(
    ask: Ask, provider: IdentityProvider, content: bytes, headers: dict[str, str]
):
    provider.content, provider.headers = content, headers
    assert_problem(ask(provider.token()), 503, "sign-on-unavailable")


def test_a_document_that_is_too_long_is_not_read(
    ask: Ask, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ours, "MAX_BYTES", 100)
    assert_problem(ask(provider.token()), 503, "sign-on-unavailable")


def test_all_who_come_while_the_keys_are_fetched_wait_for_them(
    provider: IdentityProvider, api: Api
):
    provider.delay = 0.2
    answers: list[int] = []

    def come(number: int) -> None:
        headers = {"X-API-Key": None, "Authorization": f"Bearer {provider.token(str(number))}"}
        answers.append(api.get(LIST, headers=headers).status)
        database.close()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert provider.asked == {DOCUMENT: 1, KEYS: 1}


def test_a_thread_that_must_not_wait_does_not(ask: Ask, provider: IdentityProvider):
    provider.delay = 0.2
    token = may_wait.set(False)
    try:
        answer = ask(provider.token())
    finally:
        may_wait.reset(token)
    assert_problem(answer, 503, "sign-on-unavailable")
    assert eventually(lambda: ask(provider.token()).status == 200)


class Trickle:
    """A provider that sends the beginning of an answer, and then a byte now and then for ever."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._is_open = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self._is_open:
            with suppress(OSError):
                asking, _ = self._listening.accept()
                asking.recv(65536)
                asking.sendall(self._beginning)
                while self._is_open:
                    asking.sendall(b"a")
                    time.sleep(0.02)
                asking.close()

    def close(self) -> None:
        self._is_open = False
        self._listening.close()


@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"],
    ids=["head", "body"],
)
def test_an_answer_without_end_is_not_waited_for(
    ask: Ask,
    provider: IdentityProvider,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    beginning: bytes,
):
    monkeypatch.setattr(ours, "PATIENCE_SECONDS", 0.3)
    trickle = Trickle(beginning)
    configure(oidc_issuer=trickle.url)
    began = time.monotonic()
    for _ in range(2):
        answer = ask(provider.token(iss=trickle.url))
        assert_problem(answer, 503, "sign-on-unavailable")
    assert time.monotonic() - began < 2
    assert eventually(lambda: ours.provider()._look is None)  # no thread stays with it
    trickle.close()


def test_known_keys_go_on_at_once_while_the_provider_does_not_end_its_answer(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock
):
    assert ask(provider.token()).status == 200
    waiting.move(601)
    provider.delay = 1
    began = time.monotonic()
    assert [ask(provider.token()).status for _ in range(5)] == [200] * 5
    assert time.monotonic() - began < 1
    assert provider.asked[DOCUMENT] <= 2


def test_on_lambda_a_request_waits_for_newer_keys_for_a_moment(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock, monkeypatch: pytest.MonkeyPatch
):
    assert ask(provider.token()).status == 200
    waiting.move(601)
    monkeypatch.setenv(ON_LAMBDA, "confab")
    assert ask(provider.token()).status == 200
    assert provider.asked[KEYS] == 2  # it is done, since threads stand still between requests


def test_keys_that_share_their_id_are_not_taken(ask: Ask, provider: IdentityProvider):
    (own,) = provider.public_keys
    other = json.loads(
        RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key())  # type: ignore[arg-type]
    )
    provider.keys = [own, {**other, "kid": own["kid"]}]
    assert "signed by a key" in refused(ask(provider.token()))


def test_keys_have_to_be_at_an_https_url_if_the_provider_is():
    with pytest.raises(ours.Nonsense):
        ours._as_safe("http://id.example.org/jwks", "https://id.example.org")


def test_the_server_goes_on_while_a_request_waits_for_the_provider(
    api: Api, provider: IdentityProvider, port: int, configure: Callable[..., None]
):
    configure(require_api_key="true")
    provider.delay = 0.5
    answers: dict[str, Any] = {}
    bearer = {"Authorization": f"Bearer {provider.token()}"}

    def sign_on(method: str) -> None:
        with open_api(port) as served:
            body = {"project_id": PROJECT} if method == "POST" else None
            answers[method] = served.request(method, LIST, body, headers=bearer).status

    threads = [threading.Thread(target=sign_on, args=(method,)) for method in ("GET", "POST")]
    with open_api(port) as served:
        served.headers["X-API-Key"] = api.headers["X-API-Key"]
        served.get("/health")
        for thread in threads:
            thread.start()
        while not provider.asked:
            time.sleep(0.01)
        began = time.monotonic()
        assert served.get(LIST).status == 200
        assert served.post(LIST, {"project_id": PROJECT}).status == 201
        took = time.monotonic() - began
        assert "GET" not in answers
    for thread in threads:
        thread.join()
    assert answers == {"GET": 200, "POST": 201}
    assert took < 0.9  # and not the provider's second


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
