"""Tests the command line, `python -m db`."""

import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from db import api_keys, conversations, messages
from db.__main__ import cli
from db.engine.database import database
from db.engine.sqlite import SqliteStore
from db.messages import Draft
from db.scope import EVERYTHING
from db.upkeep import schema

from .support.world import PROJECT

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> Result:
    bound = database.obj
    try:
        return CliRunner().invoke(cli, arguments, prog_name="python -m db")
    finally:
        database.initialize(bound)


def succeed(*arguments: str) -> str:
    """Run a command that must succeed, and return its standard output."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments: str) -> str:
    """Run a command that must fail, and return its one sentence on standard error."""
    result = run(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith(".\n")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ")


@pytest.fixture
def missing(tmp_path: Path, configure: Callable[..., None]) -> Path:
    """The file that DATABASE_URL names. It does not exist yet."""
    configure(database_url=f"sqlite:///{tmp_path}/missing.db")
    return tmp_path / "missing.db"


@pytest.mark.parametrize("command", [[], *([command] for command in sorted(cli.commands))])
def test_every_help_says_what_the_command_does_and_which_database_it_means(command: list[str]):
    text = succeed(*command, "--help")
    about = cli.commands[command[0]] if command else cli
    assert about.help
    assert about.get_short_help_str(200) in " ".join(text.split())
    assert "DATABASE_URL" in text
    assert "sqlite:////absolute/path.db" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["create-key", "--colour", "red"],
        ["create-key", "--project", ""],
        ["create-key", "--name", "  "],
        ["create-key", "--name", "two\nlines"],
        ["create-key", "--name", "\udcff"],
        ["revoke-key"],
        ["backup"],
        ["backup", "."],
    ],
)
def test_a_wrong_use_is_explained_and_changes_nothing(arguments: list[str]):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert api_keys.list_all() == []


def test_a_new_key_is_alone_on_standard_output_and_opens_everything():
    result = run("create-key")
    found = api_keys.find(result.stdout.removesuffix("\n"))
    assert found is not None
    assert (found.project_id, found.name) == (None, None)
    assert found.id in result.stderr
    assert "all projects" in result.stderr


def test_a_new_key_may_be_for_one_project_and_have_a_name():
    result = run("create-key", "--project", PROJECT, "--name", "Zoë's phone")
    found = api_keys.find(result.stdout.removesuffix("\n"))
    assert found is not None
    assert (found.project_id, found.name) == (PROJECT, "Zoë's phone")
    assert f"project {PROJECT}" in result.stderr


def test_the_list_of_keys_shows_neither_keys_nor_digests():
    plain, web = api_keys.make(PROJECT, "web")
    _, old = api_keys.make()
    api_keys.revoke(old.id)
    listed = succeed("list-keys")
    header, first, second = (line.split() for line in listed.splitlines())
    assert header == ["ID", "PROJECT", "NAME", "CREATED", "LAST", "USED", "EXPIRES", "REVOKED"]
    assert first == [web.id, PROJECT, "web", web.created_at]
    assert second == [old.id, "all", old.created_at, api_keys.list_all()[1].revoked_at]
    assert plain not in listed
    assert web.digest not in listed


def test_the_tables_columns_are_below_their_headings():
    api_keys.make(PROJECT, "web")
    api_keys.make()
    header, *rows = succeed("list-keys").splitlines()
    for row in rows:
        assert row[header.index("CREATED") :].startswith("20")


def test_a_revoked_key_opens_nothing():
    plain, row = api_keys.make()
    assert row.id in succeed("revoke-key", row.id)
    assert api_keys.find(plain) is None


def test_a_key_that_does_not_exist_cannot_be_revoked():
    assert fail("revoke-key", "42") == "There is no key 42: see list-keys.\n"


def test_migrate_makes_a_file_that_is_missing(missing: Path):
    assert succeed("migrate") == f"Applied {', '.join(names())}.\n"
    assert succeed("migrate") == "The schema is up to date.\n"
    assert missing.exists()


def names() -> list[str]:
    return sorted(path.stem for path in schema.DIRECTORY.glob("[0-9]*.py"))


@pytest.mark.parametrize("command", ["create-key", "list-keys"])
def test_a_command_that_needs_the_schema_brings_it_up_to_date(missing: Path, command: str):
    succeed(command)
    with closing(sqlite3.connect(missing)) as made:
        assert made.execute("SELECT name FROM schema_migration ORDER BY id").fetchall() == [
            (name,) for name in names()
        ]


def facts() -> dict[str, str]:
    """Return what `status` prints, by the first word of each line."""
    found = {}
    for line in succeed("status").splitlines():
        word, found[word] = line.split(maxsplit=1)
    return found


@pytest.mark.usefixtures("no_chores")
def test_status_prints_the_database_and_its_counts(store: SqliteStore):
    for _ in range(2):
        id = conversations.start(EVERYTHING, "p").id
        messages.append(EVERYTHING, id, [Draft("user", "Hello"), Draft("assistant", "Hello!")])
    assert facts() == {
        "database": store.place,
        "engine": "sqlite",
        "size": f"{store.size:,} bytes",
        "applied": ", ".join(names()),
        "pending": "nothing",
        "conversations": "2",
        "messages": "4",
        "behind": "2 for the search index",
    }


def test_status_makes_no_file(missing: Path):
    assert facts()["database"] == str(missing)
    assert "not there yet" in facts()["size"]
    assert not missing.exists()


def test_status_applies_no_migration(missing: Path):
    missing.touch()
    assert (facts()["applied"], facts()["pending"]) == ("nothing", ", ".join(names()))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://confab:secret@localhost/confab", "DATABASE_URL is not usable: "),
        ("sqlite:////nowhere/at/all.db", "DATABASE_URL is not usable: there is no folder "),
    ],
)
@pytest.mark.parametrize("command", ["migrate", "create-key", "list-keys"])
def test_a_database_that_cannot_be_used_is_reported_in_one_sentence(
    configure: Callable[..., None], command: str, url: str, said: str
):
    configure(database_url=url)
    sentence = fail(command)
    assert sentence.startswith(said)
    assert "secret" not in sentence


def test_a_file_that_cannot_be_made_is_reported_in_one_sentence(missing: Path):
    missing.symlink_to("/nowhere/at/all.db")
    for command in ("migrate", "create-key", "list-keys"):
        assert fail(command) == f"{missing} cannot be used: unable to open database file.\n"


def test_a_file_that_is_no_database_is_left_alone(missing: Path):
    missing.write_text("Dear diary, " * 100)
    for command in ("status", "migrate", "list-keys"):
        assert fail(command) == f"{missing} cannot be used: file is not a database.\n"
    assert missing.read_text() == "Dear diary, " * 100


def test_a_database_that_stays_locked_is_reported_in_one_sentence(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SqliteStore.PRAGMAS, "busy_timeout", 20)
    with closing(sqlite3.connect(store.place)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert fail("create-key") == f"{store.place} cannot be used: database is locked.\n"
        succeed("list-keys")  # reads still work
    succeed("create-key")


def test_a_bad_setting_is_reported_in_one_sentence(configure: Callable[..., None]):
    configure(stream_timeout="never")
    assert fail("status").startswith("STREAM_TIMEOUT is not usable: ")


def test_backup_copies_the_database_as_it_is(missing: Path, tmp_path: Path):
    with closing(sqlite3.connect(missing)) as old:
        old.execute("CREATE TABLE older (than migrations)")
    assert succeed("backup", str(tmp_path / "copy.db")) == ""
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT name FROM sqlite_master").fetchall() == [("older",)]


def test_backup_replaces_a_file_by_force_only(tmp_path: Path):
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    assert fail("backup", str(copy)).startswith(f"{copy} exists: ")
    assert copy.read_text() == "precious"
    succeed("backup", "--force", str(copy))
    assert copy.read_bytes().startswith(b"SQLite format 3")


def test_backup_says_why_it_cannot_write(tmp_path: Path):
    assert fail("backup", str(tmp_path / "nowhere" / "copy.db")).endswith(
        "cannot be written: No such file or directory.\n"
    )


def test_backup_shows_its_progress_on_a_terminal(store: SqliteStore, tmp_path: Path):
    screen, terminal = pty.openpty()
    with open(terminal, "wb"):
        ended = process("backup", str(tmp_path / "copy.db"), stderr=terminal)
        assert (ended.returncode, ended.stdout) == (0, "")
        assert "100%" in os.read(screen, 10_000).decode()
    os.close(screen)


def process(*arguments: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "db", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
    )


def test_a_shell_can_take_the_key_from_standard_output():
    ended = process("create-key", "--name", "shell")
    assert ended.returncode == 0, ended.stderr
    assert [api_keys.find(line).name for line in ended.stdout.splitlines()] == ["shell"]


def test_a_shell_sees_one_line_and_exit_code_1_where_it_fails():
    ended = process("revoke-key", "42")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "Error: There is no key 42: see list-keys.\n"


def test_purging_does_what_is_due_and_says_how_much(configure: Callable[..., None]):
    conversations.remove(EVERYTHING, conversations.start(EVERYTHING, "p").id)
    conversations.start(EVERYTHING, "p")
    database.close()
    configure(trash_days=1e-9, retention_days=1e-9)
    assert succeed("purge") == "2 conversations were purged or put into the trash.\n"
    assert succeed("purge") == "0 conversations were purged or put into the trash.\n"
