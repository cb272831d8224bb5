"""From a URL to a store: which database DATABASE_URL names, not yet connected."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, unquote

from ..settings import ON_LAMBDA, SettingsError
from .sqlite import SqliteStore

if TYPE_CHECKING:
    from .postgres import PostgresStore

Store: TypeAlias = "SqliteStore | PostgresStore"


def default_path() -> Path:
    """The file that is used without DATABASE_URL.

    It lies outside the checkout: there, the reloader of `chalice local` would take each write for a
    change of the code and restart the server.
    """
    # Cold start: 4 ms, and a deployment names its database.
    from platformdirs import user_data_path

    return user_data_path("confab", appauthor=False) / "confab.db"


def store_at(url: str | None) -> Store:
    """The database at `url`, not yet connected. Raises SettingsError."""
    if url is None:
        if os.environ.get(ON_LAMBDA):
            raise SettingsError(
                "DATABASE_URL must be set on Lambda, where no disk outlives an instance: set it "
                "in the stage's environment_variables in .chalice/config.json."
            )
        return _sqlite_by_default()
    if url.startswith("sqlite:///"):
        path, _, query = url.removeprefix("sqlite:///").partition("?")
        return _sqlite_at(Path(unquote(path)), dict(parse_qsl(query, keep_blank_values=True)))
    if url.startswith(("postgresql://", "postgres://")):
        return _postgres_at(url)
    raise SettingsError(
        "DATABASE_URL is not usable: it must begin with sqlite:/// or postgresql://."
    )


def _sqlite_by_default() -> SqliteStore:
    path = default_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"DATABASE_URL must be set: the folder of its default, {path}, is missing and could "
            f"not be made: {error.strerror}."
        ) from None
    return SqliteStore(str(path))


def _sqlite_at(path: Path, pragmas: dict[str, str]) -> SqliteStore:
    if not path.name or path.name == ":memory:" or "\0" in path.name or path.is_dir():
        raise SettingsError(
            "DATABASE_URL is not usable: it must name a file, e.g. sqlite:////var/lib/confab.db."
        )
    for name, value in pragmas.items():
        if value not in SqliteStore.CHOICES.get(name, ()):  # it may be another database's password
            raise SettingsError(
                "DATABASE_URL is not usable: after the ? it takes only "
                + "; ".join(f"{n}={'|'.join(sorted(v))}" for n, v in SqliteStore.CHOICES.items())
                + "."
            )
    if not path.parent.is_dir():
        raise SettingsError(f"DATABASE_URL is not usable: there is no folder {path.parent}.")
    return SqliteStore(str(path), **pragmas)


def _postgres_at(url: str) -> "PostgresStore":
    try:
        # Cold start: 3 ms. Only the packages for PostgreSQL carry the driver.
        from .postgres import PostgresStore
    except ModuleNotFoundError:
        raise SettingsError(
            "DATABASE_URL is not usable: PostgreSQL needs psycopg, so install psycopg[binary]."
        ) from None
    return PostgresStore(url)
