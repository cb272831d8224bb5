"""The targets on which every contract test runs, with one fixture for each."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from app import app
from db import api_keys
from db.engine.database import database
from db.settings import Settings
from db.startup import open_store
from tests.support.api_gateway import ApiGateway
from tests.support.clients import Api, InProcess, OverHttp, Transport
from tests.support.identity_provider import AUDIENCE, IdentityProvider
from tests.support.packages import Package, copy_checkout, make_package
from tests.support.postgres import Server as PostgresServer
from tests.support.processes import ProductionServer, Server

# Tests share the servers and their databases. So a test creates all that it needs by requests, in a
# project of its own.
TARGETS = ["in_process", "chalice_local", "production_server", "lambda_runtime", "postgresql"]


class Keys(NamedTuple):
    """API keys: one for all projects, and one for a project that no test uses."""

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
    """`connect()` opens another client, for tests of concurrent requests."""

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


@pytest.fixture(scope="session")
def everybodys_provider() -> Iterator[IdentityProvider]:
    """The identity provider of all targets."""
    provider = IdentityProvider()
    yield provider
    provider.close()


@pytest.fixture(scope="session")
def sign_on(everybodys_provider: IdentityProvider) -> dict[str, str]:
    """The settings by which a target knows the provider."""
    return {"oidc_issuer": everybodys_provider.url, "oidc_audience": AUDIENCE}


@pytest.fixture
def in_process(sign_on: dict[str, str], configure: Callable[..., None]) -> Target:
    configure(**sign_on)
    keys = Keys(*(api_keys.make(project)[0] for project in (None, "a stranger's")))
    database.close()
    return Target(lambda: nullcontext(InProcess(app)), keys)


@pytest.fixture(scope="session")
def chalice_local(
    tmp_path_factory: pytest.TempPathFactory, sign_on: dict[str, str]
) -> Iterator[Target]:
    url = sqlite_url(tmp_path_factory)
    keys = keys_in(url)
    with Server(url, **sign_on) as server:
        yield Target(lambda: over_http(server.port), keys)


@pytest.fixture(scope="session")
def production_server(
    tmp_path_factory: pytest.TempPathFactory, sign_on: dict[str, str]
) -> Iterator[Target]:
    pytest.importorskip("gunicorn")
    url = sqlite_url(tmp_path_factory)
    keys = keys_in(url)
    with ProductionServer(url, workers=2, **sign_on) as server:
        yield Target(lambda: over_http(server.port), keys)
        server.terminate()  # its workers must end before the tests do
        server.exit_code()


@pytest.fixture(scope="session")
def zip_of(
    tmp_path_factory: pytest.TempPathFactory, sign_on: dict[str, str]
) -> Callable[[str], Package]:
    """`zip_of("prod")` is a zip for the provider, since others lack what checks its tokens."""
    folder = tmp_path_factory.mktemp("zips")
    settings = {name.upper(): value for name, value in sign_on.items()}
    checkout = copy_checkout(folder / "checkout", **settings)
    return lambda stage: make_package(stage, folder / stage, checkout)


@pytest.fixture(scope="session")
def lambda_runtime(
    zip_of: Callable[[str], Package],
    tmp_path_factory: pytest.TempPathFactory,
    sign_on: dict[str, str],
) -> Iterator[Target]:
    with on_lambda(zip_of("prod"), sqlite_url(tmp_path_factory), sign_on) as target:
        yield target


@pytest.fixture(scope="session")
def postgresql(
    zip_of: Callable[[str], Package], postgres: PostgresServer, sign_on: dict[str, str]
) -> Iterator[Target]:
    """The zip that has the PostgreSQL driver, with a real server."""
    with on_lambda(zip_of("postgres"), postgres.migrated(), sign_on) as target:
        yield target


@contextmanager
def on_lambda(built: Package, url: str, settings: dict[str, str]) -> Iterator[Target]:
    pytest.importorskip("awslambdaric")
    environment = {"DATABASE_URL": url, **{name.upper(): it for name, it in settings.items()}}
    gateway = ApiGateway(built.template("sam.json"), built.task, environment)
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
    """Create keys in the database at `url`, and then bind the test's own database again."""
    tests_own = database.obj
    store = open_store(Settings(database_url=url))
    try:
        return Keys(*(api_keys.make(project)[0] for project in (None, "a stranger's")))
    finally:
        store.close_all()
        database.initialize(tests_own)
