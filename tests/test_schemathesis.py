"""Tests by schemathesis: it makes requests from the OpenAPI document and checks the answers."""

import os
import subprocess
from pathlib import Path

import pytest

from db import api_keys, conversations
from db.engine.sqlite import SqliteStore
from db.scope import EVERYTHING

from .support.processes import BIN, ROOT, ProductionServer, Server
from .support.world import PROJECT

CONFIG = ROOT / "tests/support/schemathesis.toml"


@pytest.fixture
def key(store: SqliteStore) -> str:
    plain, _ = api_keys.make()
    return plain


@pytest.fixture(params=["open stage", "keys required"])
def server(request: pytest.FixtureRequest, store: SqliteStore) -> Server:
    url = f"sqlite:///{store.place}"
    if request.param == "open stage":
        return Server(url, max_wait=0)
    return ProductionServer(url, max_wait=0, workers=1)


@pytest.mark.system
def test_the_service_and_its_openapi_document_agree(
    server: Server, key: str, store: SqliteStore, tmp_path: Path
):
    conversation = conversations.start(EVERYTHING, PROJECT)
    store.close_all()
    command = [BIN / "schemathesis", "--config-file", CONFIG, "run"]
    command += [f"{server.url}/openapi.json", "--header", f"X-API-Key: {key}"]
    environment = {
        "PYTHONPATH": str(ROOT),
        "PROJECT_ID": PROJECT,
        "CONVERSATION_ID": conversation.id,
    }
    with server:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **environment},
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
