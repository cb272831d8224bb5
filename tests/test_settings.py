"""Tests the settings: their defaults, which values are refused, and the default database."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app import app
from db.engine.connect import default_path, store_at
from db.engine.database import database
from db.settings import ON_LAMBDA, Settings, SettingsError, settings
from db.startup import open_store

from .support.clients import Api, InProcess, assert_problem

ROOT = Path(__file__).parent.parent

DEFAULTS: dict[str, Any] = {
    "database_url": None,
    "require_api_key": True,
    "console": True,
    "stream_timeout": 60,
    "max_wait": 20,
    "oidc_issuer": None,
    "oidc_audience": None,
    "oidc_user_claim": "sub",
    "oidc_project_claim": None,
    "oidc_project": None,
    "oidc_client_id": None,
    "rate_limit": None,
    "trash_days": 30,
    "retention_days": None,
    "chat_base_url": None,
    "chat_api_key": None,
    "chat_model": "gpt-4o-mini",
    "chat_context_tokens": 100_000,
    "chat_timeout": 25,
    "log_level": "INFO",
    "otel_exporter_otlp_endpoint": None,
    "only_route": None,
}
GIVEN = {
    "DATABASE_URL": "sqlite:////var/lib/confab.db",
    "REQUIRE_API_KEY": "false",
    "CONSOLE": "false",
    "STREAM_TIMEOUT": "2.5",
    "MAX_WAIT": "0",
    "TRASH_DAYS": "0.5",
    "RETENTION_DAYS": "365",
    "OIDC_ISSUER": "https://id.example.org",
    "OIDC_AUDIENCE": "app api",
    "OIDC_USER_CLAIM": "email",
    "OIDC_PROJECT": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "OIDC_CLIENT_ID": "console",
    "RATE_LIMIT": "600",
    "CHAT_BASE_URL": "http://localhost:11434/v1",
    "CHAT_API_KEY": "sk-secret",
    "CHAT_MODEL": "llama3",
    "CHAT_CONTEXT_TOKENS": "32000",
    "CHAT_TIMEOUT": "120",
    "LOG_LEVEL": "WARNING",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
    "ONLY_ROUTE": "GET /health",
}


def test_without_an_environment_all_settings_have_their_defaults():
    assert Settings.read({}).model_dump() == DEFAULTS


def test_every_setting_is_read_from_the_variable_of_its_name():
    assert Settings.read({**GIVEN, "UNRELATED": "x"}).model_dump() == {
        "database_url": "sqlite:////var/lib/confab.db",
        "require_api_key": False,
        "console": False,
        "stream_timeout": 2.5,
        "max_wait": 0,
        "trash_days": 0.5,
        "retention_days": 365,
        "oidc_issuer": "https://id.example.org",
        "oidc_audience": "app api",
        "oidc_user_claim": "email",
        "oidc_project_claim": None,
        "oidc_project": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "oidc_client_id": "console",
        "rate_limit": 600,
        "chat_base_url": "http://localhost:11434/v1",
        "chat_api_key": SecretStr("sk-secret"),
        "chat_model": "llama3",
        "chat_context_tokens": 32_000,
        "chat_timeout": 120,
        "log_level": "WARNING",
        "otel_exporter_otlp_endpoint": "http://localhost:4318",
        "only_route": "GET /health",
    }


@pytest.mark.parametrize("name", GIVEN)
def test_an_empty_variable_counts_as_unset(name: str):
    field = name.lower()
    assert getattr(Settings.read({name: ""}), field) == DEFAULTS[field]


def test_the_models_key_is_not_shown_with_the_settings():
    assert "sk-secret" not in repr(Settings.read(GIVEN))


BAD_VALUES = [
    ("DATABASE_URL", "mysql://confab:secret@localhost/confab"),
    ("DATABASE_URL", "/var/lib/confab.db"),
    ("DATABASE_URL", "sqlite://var/lib/confab.db"),
    ("REQUIRE_API_KEY", "perhaps"),
    ("REQUIRE_API_KEY", "2"),
    ("STREAM_TIMEOUT", "a minute"),
    ("STREAM_TIMEOUT", "0"),
    ("STREAM_TIMEOUT", "-1"),
    ("STREAM_TIMEOUT", "inf"),
    ("STREAM_TIMEOUT", "nan"),
    ("STREAM_TIMEOUT", "1e300"),
    ("CHAT_BASE_URL", "localhost:11434"),
    ("CHAT_BASE_URL", "ftp://example.org"),
    ("CHAT_CONTEXT_TOKENS", "0"),
    ("CHAT_CONTEXT_TOKENS", "many"),
    ("CHAT_TIMEOUT", "0"),
    ("CHAT_TIMEOUT", "inf"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
    ("LOG_LEVEL", "LOUD"),
    ("LOG_LEVEL", "info"),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_stops_the_start_with_one_sentence_that_names_the_setting(
    name: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    with pytest.raises(SystemExit) as stopped:
        settings()
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"confab: {name} is not usable: ")
    assert err.endswith(".\n")
    assert err.count("\n") == 1
    assert "secret" not in err


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Import the app in a new process, as every server does."""
    return subprocess.run(
        [sys.executable, "-c", "import app", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_with_a_bad_value_ends_with_one_line_and_exit_code_2():
    ended = start(STREAM_TIMEOUT="never")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "confab: STREAM_TIMEOUT is not usable: Input should be a valid number, unable to parse "
        "string as a number.\n"
    )


def test_chalice_local_ends_with_one_line_where_the_database_has_no_folder():
    ended = start("local", AWS_CHALICE_CLI_MODE="true", DATABASE_URL="sqlite:////nowhere/at/all.db")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == ("confab: DATABASE_URL is not usable: there is no folder /nowhere/at.\n")


def test_chalice_local_says_where_the_conversations_are(tmp_path: Path):
    started = start("local", AWS_CHALICE_CLI_MODE="true", DATABASE_URL=f"sqlite:///{tmp_path}/x.db")
    assert started.stdout == f"Conversations are kept in {tmp_path}/x.db\n"


def test_importing_the_app_touches_no_database(tmp_path: Path):
    imported = start(DATABASE_URL=f"sqlite:///{tmp_path}/untouched.db")
    assert (imported.returncode, imported.stdout, imported.stderr) == (0, "", "")
    assert not (tmp_path / "untouched.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/confab",
        "sqlite://confab.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:////",
        "sqlite:////tmp",
        "sqlite:////nowhere/at/all.db",
        "sqlite:///confab%00.db",
        "sqlite:///confab.db?journal_mode=off",
        "sqlite:///confab.db?journal_mode",
        "sqlite:///confab.db?synchronous=WAL",
        "sqlite:///confab.db?cache_size=1",
    ],
)
def test_a_database_url_that_cannot_be_used_is_refused_with_one_sentence(url: str):
    with pytest.raises(SettingsError, match=r"^DATABASE_URL is not usable: [^\n]+\.$"):
        store_at(url)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("sqlite:///{}/confab.db", "confab.db"),
        ("sqlite:///{}/all%20mine.db", "all mine.db"),
        ("sqlite:///{}/100%25#1.db", "100%#1.db"),
        ("sqlite:///{}/confab.db?synchronous=normal", "confab.db"),
    ],
)
def test_a_database_url_names_a_file(written: str, path: str, tmp_path: Path):
    assert store_at(written.format(tmp_path)).place == str(tmp_path / path)


def test_a_database_url_may_choose_how_the_file_is_written(tmp_path: Path):
    store = store_at(f"sqlite:///{tmp_path}/efs.db?journal_mode=delete&synchronous=extra")
    assert (store.pragma("journal_mode"), store.pragma("synchronous")) == ("delete", 3)
    store.close_all()


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset DATABASE_URL, as in a process that has had no request."""
    monkeypatch.delenv("DATABASE_URL")
    settings.cache_clear()
    database.initialize(None)


@pytest.mark.usefixtures("unset")
def test_the_default_database_is_in_the_users_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    store = open_store(settings())
    assert store.place == str(tmp_path / "data" / "confab" / "confab.db")
    assert Path(store.place).exists()
    store.close_all()


def test_the_default_database_is_outside_the_checkout(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert not default_path().is_relative_to(ROOT)
    assert default_path().is_relative_to(Path.home())


def test_a_data_directory_that_cannot_be_made_asks_for_a_database_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match=r"^DATABASE_URL must be set: [^\n]+\.$"):
        store_at(None)


@pytest.mark.usefixtures("unset")
def test_on_lambda_without_a_database_url_the_first_request_fails_and_the_log_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv(ON_LAMBDA, "confab-prod")
    problem = assert_problem(Api(InProcess(app)).get("/health"), 500, "internal")
    assert "DATABASE_URL" not in str(problem)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "DATABASE_URL must be set on Lambda" in record.getMessage()


def test_on_lambda_without_a_database_url_the_app_can_be_imported():
    imported = start(**{ON_LAMBDA: "confab-prod", "DATABASE_URL": ""})
    assert (imported.returncode, imported.stderr) == (0, "")


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch):
    before = settings()
    monkeypatch.setenv("STREAM_TIMEOUT", "2")
    assert settings() is before
