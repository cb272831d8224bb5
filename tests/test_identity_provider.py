"""Tests which keys of an identity provider are taken, also when they change or it is away."""

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
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from db.engine.database import database, may_wait
from db.settings import ON_LAMBDA
from handlers.http import identity_provider as ours
from handlers.http import logs

from .support.clients import Api, assert_problem, open_api
from .support.identity_provider import DOCUMENT, KEYS, IdentityProvider
from .support.local_server import eventually
from .support.sign_on import LIST, Ask, MonotonicClock, refused
from .support.world import PROJECT


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


def test_without_a_free_thread_the_provider_counts_as_away(
    ask: Ask,
    provider: IdentityProvider,
    waiting: MonotonicClock,
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(ours.threading.Thread, "start", fail)
        assert_problem(ask(provider.token()), 503, "sign-on-unavailable")
    waiting.move(5)
    assert ask(provider.token()).status == 200


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
    assert time.monotonic() - began < 15
    assert eventually(lambda: ours.provider()._look is None)  # no thread stays with it
    trickle.close()


def test_known_keys_go_on_at_once_while_the_provider_does_not_end_its_answer(
    ask: Ask, provider: IdentityProvider, waiting: MonotonicClock
):
    assert ask(provider.token()).status == 200
    waiting.move(601)
    provider.delay = 5
    began = time.monotonic()
    assert [ask(provider.token()).status for _ in range(5)] == [200] * 5
    assert time.monotonic() - began < 5
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
    provider.delay = 2
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
    assert took < 3  # and not the provider's four seconds
