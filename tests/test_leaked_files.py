"""Tests that a key or a token is shown once, and that no file and no command shows it again."""

import hashlib
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from db import api_keys, user_tokens
from db.__main__ import cli
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from server.install import announce

from .support.clients import Api, assert_problem
from .support.leaks import assert_hidden
from .support.world import PROJECT, USER, make_world

CONVERSATIONS = "/api/v1/conversations"
PASSWORD = "tigersecret"


def run(*arguments: str) -> tuple[str, str]:
    """What a command prints to standard output, and all else that its user sees."""
    result = CliRunner().invoke(cli, arguments)
    if database.obj is not None:
        database.close()
    seen = result.stderr
    if result.exc_info and not isinstance(result.exception, SystemExit | None):
        seen += "".join(traceback.format_exception(*result.exc_info))
    return result.stdout, seen


def make_all(api: Api) -> list[str]:
    """Keys and tokens of the API and of the command line, used and unused."""
    plains = []
    for command in (
        ("create-key", "--project", PROJECT, "--name", "phone", "--expires", "9"),
        ("create-key", "--read-only"),
        ("create-token", "--user", USER, "--project", PROJECT),
    ):
        shown, said = run(*command)
        plains.append(shown.removesuffix("\n"))
        assert_hidden(plains[-1:], said)
    body = {"user_id": USER, "project_id": PROJECT}
    for key in (api.headers["X-API-Key"], plains[0]):
        headers = {"X-API-Key": key, "Idempotency-Key": "k"}
        for _ in range(2):
            plains.append(api.post("/api/v1/tokens", body, headers=headers).json["token"])
    assert len({*plains}) == 7
    for plain in plains[:-1]:
        headers = {"X-API-Key": None, "Authorization": f"Bearer {plain}", "Idempotency-Key": "u"}
        assert api.get(CONVERSATIONS, headers=headers).status == 200
        api.post(CONVERSATIONS, {"project_id": PROJECT}, headers=headers)
    assert api.get(CONVERSATIONS, headers={"X-API-Key": plains[0]}).status == 200
    return [*plains, api.headers["X-API-Key"]]


def test_a_leaked_file_yields_no_key_and_no_token(api: Api, store: SqliteStore, tmp_path: Path):
    plains = make_all(api)
    make_world()
    backup, export, of_user = (str(tmp_path / name) for name in ("copy.db", "all", "user"))
    for command in (
        ("backup", backup),
        ("export", export),
        ("export-user", "--user", USER, of_user),
    ):
        assert run(*command)[0] == ""
    copied = run("copy", "--to", f"sqlite:///{tmp_path}/copied.db")
    assert "user_token" in copied[0], copied
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    assert {"confab.db", "confab.db-wal", "confab.db-shm", "copy.db", "copied.db"} <= {*files}
    for content in files.values():
        assert_hidden(plains, content)

    digests = {found.decode() for found in re.findall(rb"[0-9a-f]{64}", files["copy.db"])}
    assert {hashlib.sha256(plain.encode()).hexdigest() for plain in plains} <= digests
    for digest in digests:
        for prefix in ("", api_keys.PREFIX, user_tokens.PREFIX):
            for caller in (
                {"X-API-Key": prefix + digest},
                {"Authorization": f"Bearer {prefix}{digest}"},
            ):
                answer = api.get(CONVERSATIONS, headers={"X-API-Key": None} | caller)
                assert_problem(answer, 401, "unauthenticated")


def test_a_key_that_was_shown_is_not_shown_again(api: Api):
    plains = make_all(api)
    make_world()
    listed = [run(name)[0] for name in ("list-keys", "list-tokens")]
    ids = [re.findall(r"^[0-9a-f-]{36}", text, re.MULTILINE) for text in listed]
    commands = [("revoke-key", ids[0][0]), ("revoke-token", ids[1][0]), ("revoke-key", plains[0])]
    names = ("status", "migrate", "index", "purge", "list-keys", "list-tokens")
    told = [run(*command) for command in [*commands, *((name,) for name in names)]]
    own = f"Error: There is no key {plains[0]}: see list-keys.\n"
    assert told[2] == ("", own)  # it was typed there
    assert_hidden(plains, str([listed, told[:2], told[3:]]))


def no_password_in(text: str) -> None:
    assert not re.search("tiger|secret", text), text


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://confab:{PASSWORD}@localhost/confab",
        f"sqlite:////tmp/confab.db?password={PASSWORD}",
        f"postgresql://confab:{PASSWORD}@127.0.0.1:1/confab",
        f"postgresql://127.0.0.1:1/confab?user=confab&password={PASSWORD}",
        "postgresql://confab:tiger/secret@127.0.0.1:1/confab",
        "postgresql://confab:tiger@secret@127.0.0.1:1/confab",
        "postgresql://confab:tiger?secret@127.0.0.1:1/confab",
        "postgresql://confab:tiger%secret@127.0.0.1:1/confab",
        "postgresql://confab:tiger#secret@127.0.0.1:1/confab",
        f"postgresql://confab:{PASSWORD}@127.0.0.1:port/confab",
        f"postgresql://confab:{PASSWORD}/confab",
        f"postgresql:/confab:{PASSWORD}@127.0.0.1:1/confab",
    ],
)
def test_a_password_in_a_url_is_shown_nowhere(
    api: Api,
    configure: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    store: SqliteStore,
    url: str,
):
    if url.startswith("postgresql://"):
        pytest.importorskip("psycopg")
    configure(database_url=url)
    for name in ("status", "migrate", "create-key", "list-keys", "list-tokens", "purge"):
        shown, said = run(name)
        assert said.startswith("Error: ")
        assert said.count("\n") == 1
        no_password_in(shown + said)
    configure(database_url=f"sqlite:///{store.place}")
    no_password_in("".join(run("copy", "--to", url)))

    configure(database_url=url)
    try:
        announce()
    except SystemExit:
        pass
    else:
        database.initialize(None)
        assert_problem(api.get(CONVERSATIONS), 503, "unavailable")
        assert caplog.text
    printed = capfd.readouterr()
    assert printed.out or printed.err
    no_password_in(printed.out + printed.err + caplog.text)


@pytest.mark.usefixtures("no_chores")  # what is in the index is not read again
@pytest.mark.parametrize("command", ["copy", "export", "index", "export-user"])
def test_a_command_that_cannot_read_a_text_does_not_show_it(command: str, tmp_path: Path):
    make_world()
    database.execute_sql("UPDATE conversation SET title = CAST(? AS TEXT)", [b"tiger\xff"])
    database.close()
    arguments = {
        "copy": ("--to", f"sqlite:///{tmp_path}/copy.db"),
        "export": (str(tmp_path / "export"),),
        "export-user": ("--user", USER, str(tmp_path / "user")),
    }
    shown, said = run(command, *arguments.get(command, ()))
    assert "Could not decode to UTF-8 column 'title'." in said
    assert said.startswith(("Error: ", "The search index "))
    no_password_in(shown + said)
