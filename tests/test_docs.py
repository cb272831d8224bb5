"""Tests that README's commands run and that the answers have the printed fields."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from string import Template

import pytest

from db import api_keys
from db.engine.database import database
from db.settings import Settings
from db.startup import open_store

from .support.clients import Answer, curl
from .support.processes import ROOT, Server

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"(?:[^\\\n]|\\.)+(?:\\\n(?:[^\\\n]|\\.)+)*", re.DOTALL)


@pytest.fixture
def key(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/readme.db"
    with closing(open_store(Settings(database_url=url))):
        plain, _ = api_keys.make()
    database.initialize(None)
    return plain


@pytest.fixture
def server(tmp_path: Path, key: str) -> Iterator[Server]:
    with Server(f"sqlite:///{tmp_path}/readme.db") as server:
        yield server


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield README's curl commands, each with the fields of the answer printed below it."""
    blocks = BLOCK.findall(README)
    for (language, text), (following, printed) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language == "sh":
            found = [line for line in COMMAND.findall(text) if line.startswith("curl ")]
            fields = list(json.loads(printed)) if following == "json" else []
            yield from ((line, fields if line == found[-1] else []) for line in found)


def test_the_examples_run_one_after_the_other_and_answer_as_printed(server: Server, key: str):
    names = {"KEY": key}
    answers = []
    for line, fields in commands():
        answer = curl(_with(names, line).partition("   #")[0], server.port)
        assert answer.status in (200, 201), (line, answer)
        if fields:
            assert list(answer.json) == fields, line
        answers.append(answer)
        names = {**_learned(answer, server), **names}
    assert len(answers) == 27


def test_the_example_for_openais_client_runs_as_printed(
    server: Server, key: str, capsys: pytest.CaptureFixture[str]
):
    (example,) = (text for language, text in BLOCK.findall(README) if "import OpenAI\n" in text)
    example = example.replace("http://localhost:8000", server.url).replace('"any"', f'"{key}"')
    exec(example, {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Hello, world"
    assert printed[1].startswith("Once moremessage msg_")
    assert len(printed) == 5


def _with(names: dict[str, str], line: str) -> str:
    """Return a line with its variables. Those that hold a URL are set in README itself."""
    urls = dict(re.findall(r"^(\w+)=(http\S+)", README, re.MULTILINE))
    while line != (replaced := Template(line).substitute({**urls, **names})):
        line = replaced
    return line


def _learned(answer: Answer, server: Server) -> dict[str, str]:
    """Return what a reader copies from an answer into the next command."""
    if answer.headers["content-type"] != "application/json":
        return {}
    if answer.json.get("messages") == []:
        return {"ID": answer.json["id"]}
    if "user_message" in answer.json:
        return {"QUESTION": answer.json["user_message"]["id"]}
    return {"MESSAGE": answer.json["id"]} if answer.json.get("status") == "in_progress" else {}


@pytest.mark.parametrize(
    "file", ["requirements.txt", "requirements-dev.txt", "deploy/requirements-tracing.txt"]
)
def test_each_dependency_is_named_with_its_reason(file: str):
    tables = CONTRIBUTING.partition("\n## Dependencies")[2].partition("\n## ")[0].lower()
    for line in (ROOT / file).read_text().splitlines():
        package = re.split(r"[\[=]", line)[0].lower()
        if not line.startswith("-r"):
            assert package in tables, f"{package} is missing in CONTRIBUTING's dependency tables"
