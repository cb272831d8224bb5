"""Fixtures for sign-on: a provider that the settings name, who asks with its tokens, and time."""

import time
from collections.abc import Callable

import pytest

from handlers.http import identity_provider as ours

from .clients import Answer, Api, assert_problem
from .identity_provider import AUDIENCE, IdentityProvider
from .local_server import eventually

LIST = "/api/v1/conversations"
Ask = Callable[..., Answer]


class MonotonicClock:
    """The seconds that `identity_provider` sees. They stand still until a test moves them."""

    def __init__(self) -> None:
        self._now = time.monotonic()

    def monotonic(self) -> float:
        return self._now

    def move(self, seconds: float) -> None:
        """Let time pass. What is looked for meanwhile is found before."""
        assert eventually(lambda: ours.provider()._look is None)
        self._now += seconds


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
