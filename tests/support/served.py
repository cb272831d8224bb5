"""Fixtures for a server that the tests of a module share: its database, and a key for it."""

import pytest

from db import api_keys
from db.engine.database import database
from db.settings import Settings
from db.startup import open_store


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('http')}/confab.db"


@pytest.fixture(scope="module")
def key(url: str) -> str:
    store = open_store(Settings(database_url=url))
    plain, _ = api_keys.make()
    store.close_all()
    database.initialize(None)
    return plain
