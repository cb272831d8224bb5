"""Fixtures for all tests: a new database file for each test, callers, and clients."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import pytest

from app import app
from db import api_keys, conversations, search_index, trash
from db import clock as db_clock
from db.engine.connect import Store
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.scope import Scope
from db.settings import Settings, settings
from db.startup import open_store
from handlers.http.caller import Caller

from .support.chats import Chat
from .support.clients import Answer, Api, InProcess
from .support.clock import Clock
from .support.documented import Documented
from .support.model_server import ModelServer
from .support.packages import Package, make_package
from .support.world import OTHER_PROJECT, PROJECT

pytest_plugins = [
    "tests.support.console",
    "tests.support.faults",
    "tests.support.identity_provider",
    "tests.support.local_server",
    "tests.support.openai_clients",
    "tests.support.postgres",
    "tests.support.served",
    "tests.support.sign_on",
]


@pytest.fixture(autouse=True)
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`configure(stream_timeout=1)` sets settings for one test. The others have their defaults."""

    def change(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name.upper(), str(value))
        settings.cache_clear()

    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    settings.cache_clear()
    yield change
    settings.cache_clear()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, configure: Callable[..., None]) -> Iterator[SqliteStore]:
    """A new migrated database file for each test."""
    configure(database_url=f"sqlite:///{tmp_path}/confab.db")
    store = open_store(settings())
    yield store
    store.close_all()
    database.initialize(None)


@pytest.fixture(params=["sqlite", "postgresql"])
def either_store(
    request: pytest.FixtureRequest, store: SqliteStore, configure: Callable[..., None]
) -> Iterator[Store]:
    """The test runs on both engines: a new file, and a database server without rows."""
    if request.param == "sqlite":
        yield store
        return
    configure(database_url=request.getfixturevalue("postgres_url"))
    on_server = open_store(settings())
    yield on_server
    on_server.close_all()
    database.initialize(store)


@pytest.fixture
def no_trash(configure: Callable[..., None]) -> None:
    """What is deleted is purged at once."""
    configure(trash_days=0)


@pytest.fixture
def no_chores(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write does what others left: nothing is swept, and the search index stays as it is."""
    for chore in (search_index.follow_if_due, trash.sweep_if_due):
        monkeypatch.setattr(chore, "due_at", inf)
        monkeypatch.setattr(chore, "_left", inf)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that shows the real time until the test moves it."""
    moved = Clock()
    monkeypatch.setattr(db_clock, "datetime", moved)
    monkeypatch.setattr(db_clock, "time", moved)
    monkeypatch.setattr(db_clock, "_newest", 0)
    return moved


@pytest.fixture
def conversation_id() -> str:
    """The id of an empty conversation that belongs to no user."""
    row = conversations.start(Scope(), PROJECT)
    database.close()
    return row.id


@pytest.fixture
def anyone() -> Caller:
    """A caller on an open stage. They may see everything."""
    return Caller(Scope())


@pytest.fixture
def alice() -> Caller:
    return Caller(Scope(PROJECT, "alice"), "key-of-project")


@pytest.fixture
def bob() -> Caller:
    return Caller(Scope(PROJECT, "bob"), "key-of-project")


@pytest.fixture
def api() -> Api:
    """A client of all routes, through Chalice's local gateway, with a key for all projects."""
    key, _ = api_keys.make()
    database.close()
    return Api(Documented(InProcess(app), app), {"X-API-Key": key})


@pytest.fixture
def model(configure: Callable[..., None]) -> Iterator[ModelServer]:
    """A model server that `/api/v1/chat` asks."""
    with ModelServer() as server:
        configure(chat_base_url=server.url, chat_timeout=5)
        yield server


@pytest.fixture
def chat(api: Api, conversation_id: str) -> Chat:
    """`chat("Hi", client_id="1")` posts both to `/api/v1/chat` and returns the answer."""

    def say(content: Any = "Hi", *, headers: Any = None, **fields: Any) -> Answer:
        database.close()
        body = {"conversation_id": conversation_id, "content": content, **fields}
        return api.post("/api/v1/chat", body, headers=headers)

    return say


@pytest.fixture
def strangers_key() -> str:
    """A valid key for another project."""
    key, _ = api_keys.make(OTHER_PROJECT)
    database.close()
    return key


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Package]:
    """`package("prod")` returns what `make package STAGE=prod` writes."""
    return cache(lambda stage: make_package(stage, tmp_path_factory.mktemp(stage)))


os.environ.pop("AWS_LAMBDA_FUNCTION_NAME", None)
# A job in the background ignores it, and so would the servers that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
