"""What all tests share: a fresh database file each, callers, and clients for the routes."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app import app
from db import clock as db_clock
from db.api_key import ApiKey
from db.conversation import Conversation
from db.database import SqliteStore, database, open_store
from db.scope import Scope
from db.settings import Settings, settings
from handlers.http.caller import Caller

from .clients import Answer, Api, InProcess
from .documented import Documented
from .model_server import ModelServer
from .packages import Package, make_package

pytest_plugins = ["tests.postgres"]

PROJECT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
OTHER_PROJECT = "0f0e0d0c-0b0a-4908-8706-050403020100"


@pytest.fixture(autouse=True)
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set settings for one test: `configure(stream_timeout=1)`. All others have their defaults."""

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
    """A migrated database of its own, in a file, for each test."""
    configure(database_url=f"sqlite:///{tmp_path}/confab.db")
    store = open_store(settings())
    yield store
    store.close_all()
    database.initialize(None)


class Clock:
    """The time as the store sees it, in the place of `datetime` and `time`."""

    ahead = 0.0  # seconds

    def move(self, seconds: float) -> None:
        self.ahead += seconds

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) + timedelta(seconds=self.ahead)

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that goes as the real one does, until the test moves it."""
    moved = Clock()
    monkeypatch.setattr(db_clock, "datetime", moved)
    monkeypatch.setattr(db_clock, "time", moved)
    monkeypatch.setattr(db_clock, "_newest", 0)
    return moved


@pytest.fixture
def conversation_id() -> str:
    """An empty conversation of nobody in particular."""
    row = Conversation.start(Scope(), PROJECT)
    database.close()
    return row.id


@pytest.fixture
def anyone() -> Caller:
    """The caller of an open stage, who may see everything."""
    return Caller(Scope())


@pytest.fixture
def alice() -> Caller:
    return Caller(Scope(PROJECT, "alice"), "key-of-project")


@pytest.fixture
def bob() -> Caller:
    return Caller(Scope(PROJECT, "bob"), "key-of-project")


@pytest.fixture
def api() -> Api:
    """All routes through Chalice's gateway in this process, with a key for all projects."""
    key, _ = ApiKey.make()
    database.close()
    return Api(Documented(InProcess(app), app), {"X-API-Key": key})


@pytest.fixture
def model(configure: Callable[..., None]) -> Iterator[ModelServer]:
    """The server of a model, which the chat asks."""
    with ModelServer() as server:
        configure(chat_base_url=server.url, chat_timeout=5)
        yield server


Chat = Callable[..., Answer]


@pytest.fixture
def chat(api: Api, conversation_id: str) -> Chat:
    """`chat("Hi")` says that in the conversation, and returns what is answered."""

    def say(content: Any = "Hi", **rest: Any) -> Answer:
        database.close()
        body = {"conversation_id": conversation_id, "content": content}
        return api.post("/api/v1/chat", body, **rest)

    return say


@pytest.fixture
def strangers_key() -> str:
    """A good key, for another project."""
    key, _ = ApiKey.make(OTHER_PROJECT)
    database.close()
    return key


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Package]:
    """`package("prod")` is what `make package STAGE=prod` writes."""
    return cache(lambda stage: make_package(stage, tmp_path_factory.mktemp(stage)))


os.environ.pop("AWS_LAMBDA_FUNCTION_NAME", None)
