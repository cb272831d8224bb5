"""The targets: the ways in which the same contract is served. One fixture for each.

A test of this folder runs on every target, and knows nothing of it: whatever a test needs it makes
by requests, in a project of its own, since servers and their databases are shared.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from app import app
from db.api_key import ApiKey
from db.database import database, open_store
from db.settings import Settings
from tests.api_gateway import ApiGateway
from tests.clients import Api, InProcess, OverHttp, Transport
from tests.packages import Package
from tests.postgres import Server as PostgresServer
from tests.processes import ProductionServer, Server

TARGETS = ["in_process", "chalice_local", "production_server", "lambda_runtime", "postgresql"]


class Keys(NamedTuple):
    """API keys: one for all projects, one for a project that no test has."""

    opens_all: str
    strangers: str


class Target(NamedTuple):
    connect: Callable[[], AbstractContextManager[Transport]]
    keys: Keys


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    return request.getfixturevalue(request.param)


@pytest.fixture
def connect(target: Target) -> Callable[[], AbstractContextManager[Api]]:
    """One more client, for a test of what happens at the same time."""

    @contextmanager
    def client() -> Iterator[Api]:
        with target.connect() as transport:
            yield Api(transport, {"X-API-Key": target.keys.opens_all})

    return client


@pytest.fixture
def api(connect: Callable[[], AbstractContextManager[Api]]) -> Iterator[Api]:
    with connect() as client:
        yield client


@pytest.fixture
def project() -> str:
    return str(uuid4())


@pytest.fixture
def conversation(api: Api, project: str) -> dict[str, Any]:
    """A new conversation without messages."""
    return api.post("/api/v1/conversations", {"project_id": project, "title": "Planning"}).json


@pytest.fixture
def in_process() -> Target:
    keys = Keys(*(ApiKey.make(project)[0] for project in (None, "a stranger's")))
    database.close()
    return Target(lambda: nullcontext(InProcess(app)), keys)


@pytest.fixture(scope="session")
def chalice_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    url = sqlite_url(tmp_path_factory)
    keys = keys_in(url)
    with Server(url) as server:
        yield Target(lambda: over_http(server.port), keys)


@pytest.fixture(scope="session")
def production_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    pytest.importorskip("gunicorn")
    url = sqlite_url(tmp_path_factory)
    keys = keys_in(url)
    with ProductionServer(url, workers=2, threads=8) as server:
        yield Target(lambda: over_http(server.port), keys)
        server.terminate()  # so that its workers are gone before the tests are
        server.exit_code()


@pytest.fixture(scope="session")
def lambda_runtime(
    package: Callable[[str], Package], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    with on_lambda(package("prod"), sqlite_url(tmp_path_factory)) as target:
        yield target


@pytest.fixture(scope="session")
def postgresql(package: Callable[[str], Package], postgres: PostgresServer) -> Iterator[Target]:
    """The zip that carries the driver, in front of a server."""
    with on_lambda(package("postgres"), postgres.migrated()) as target:
        yield target


@contextmanager
def on_lambda(built: Package, url: str) -> Iterator[Target]:
    pytest.importorskip("awslambdaric")
    gateway = ApiGateway(built.template("sam.json"), built.task, {"DATABASE_URL": url})
    keys = keys_in(url)
    with closing(gateway):
        yield Target(lambda: nullcontext(gateway), keys)


@contextmanager
def over_http(port: int) -> Iterator[Transport]:
    transport = OverHttp(port)
    with closing(transport.connection):
        yield transport


def sqlite_url(folders: pytest.TempPathFactory) -> str:
    return f"sqlite:///{folders.mktemp('target')}/confab.db"


def keys_in(url: str) -> Keys:
    """New keys in the database at `url`, which is bound for no longer than that."""
    tests_own = database.obj
    store = open_store(Settings(database_url=url))
    try:
        return Keys(*(ApiKey.make(project)[0] for project in (None, "a stranger's")))
    finally:
        store.close_all()
        database.initialize(tests_own)
