"""Tests what others make of the OpenAPI document: a linter, and generators of clients and types."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import app
from handlers.http.openapi import describe

from .support.processes import BIN, ROOT, Server
from .support.world import PROJECT, ROUTES, name_of

pytestmark = pytest.mark.system

JS = ROOT / "tests" / "js"
# Their parameters `include` and `include[]` are one in Python. OpenAI's SDK has these routes.
NOT_IN_PYTHON = {"list_items", "create_items", "get_item"}
PYTHON = """
import sys
from confab_client import Client
from confab_client.api.conversations import create_conversation, list_conversations
from confab_client.api.messages import append_messages
from confab_client.models import ConversationCreate, MessageCreate, MessageCreateRole

with Client(base_url=sys.argv[1]) as client:
    body = ConversationCreate(project_id=sys.argv[2], title="From Python")
    made = create_conversation.sync(client=client, body=body)
    message = MessageCreate(role=MessageCreateRole.USER, content="Hello")
    append_messages.sync(conversation_id=made.id, client=client, body=message)
    for each in list_conversations.sync(client=client, project_id=sys.argv[2]).conversations:
        print(each.title, [message.content for message in each.messages])
"""
TYPESCRIPT = """
import createClient from "openapi-fetch"
import type { components, paths } from "./confab"

const client = createClient<paths>({ baseUrl: process.argv[2] })
const project_id = process.argv[3]
const made = await client.POST("/api/v1/conversations", {
  body: { project_id, title: "From TypeScript" },
})
if (!made.data) throw new Error(made.error.detail)
const conversation_id: string = made.data.id
await client.POST("/api/v1/conversations/{conversation_id}/messages", {
  params: { path: { conversation_id } },
  body: { role: "user", content: "Hello" },
})
const listed = await client.GET("/api/v1/conversations", { params: { query: { project_id } } })
const conversations: components["schemas"]["ConversationResponse"][] = listed.data!.conversations
for (const { title, messages } of conversations) console.log(title, messages.map((m) => m.content))
// @ts-expect-error - a field that is not there
void listed.data!.nothing
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(describe(app)))
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(f"sqlite:///{tmp_path}/tools.db") as server:
        yield server


def run(*command: str | Path, folder: Path = JS, **environment: str) -> str:
    """What a command that must succeed prints."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def npx(name: str) -> Path:
    return JS / "node_modules" / ".bin" / name


def test_redocly_finds_nothing_to_warn_of(document: Path):
    told = run(npx("redocly"), "lint", document, "--config", JS / "redocly.yaml")
    assert "Your API description is valid" in told
    assert not re.search(r"\bwarnings?\b", told.partition("validating")[2])


def test_a_generated_python_client_talks_to_the_server(
    document: Path, server: Server, tmp_path: Path
):
    folder = tmp_path / "confab_client"
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # it formats with ruff
    told = run(
        BIN / "openapi-python-client", "generate", "--path", document, "--output-path", folder,
        "--meta", "none", PATH=path,
    )  # fmt: skip
    assert set(re.findall(r"WARNING parsing \w+ (\S+)", told)) == {
        route.uri_pattern for route in ROUTES if name_of(route) in NOT_IN_PYTHON
    }
    modules = {module.stem for module in folder.glob("api/*/*.py")} - {"__init__"}
    assert modules == {name_of(route) for route in ROUTES} - NOT_IN_PYTHON
    run(sys.executable, "-m", "compileall", "-q", folder)
    (tmp_path / "call.py").write_text(PYTHON)
    said = run(sys.executable, "call.py", server.url, PROJECT, folder=tmp_path)
    assert said == "From Python ['Hello']\n"


def test_generated_types_compile_and_a_typed_call_is_answered(
    document: Path, server: Server, tmp_path: Path
):
    types = tmp_path / "confab.d.ts"
    # Without the last option, a field with a default would have to be sent.
    run(npx("openapi-typescript"), document, "--output", types, "--default-non-nullable=false")
    (tmp_path / "node_modules").symlink_to(JS / "node_modules")
    (tmp_path / "call.ts").write_text(TYPESCRIPT)
    options = {
        "strict": True, "noEmit": True, "target": "es2022", "module": "esnext", "types": [],
        "moduleResolution": "bundler", "lib": ["es2022", "dom", "dom.iterable"],
    }  # fmt: skip
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "process.d.ts").write_text("declare const process: { argv: string[] }")
    (tmp_path / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": options, "include": ["*.ts"]})
    )
    run(npx("tsc"), "--project", tmp_path / "tsconfig.json", folder=tmp_path)
    run(
        npx("esbuild"), "call.ts", "--bundle", "--format=esm", "--outfile=call.js",
        "--log-level=error", folder=tmp_path,
    )  # fmt: skip
    said = run("node", "call.js", server.url, PROJECT, folder=tmp_path)
    assert said == "From TypeScript [ 'Hello' ]\n"
