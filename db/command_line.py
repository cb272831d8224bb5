"""What all commands of `python -m db` share: the group, the opened database, options, tables."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from .engine.connect import Store, store_at
from .engine.database import DRIVER_ERRORS, database, driver_words
from .engine.sqlite import SqliteStore
from .errors import StoreError, Unavailable
from .settings import Settings, SettingsError
from .startup import open_store
from .upkeep.backup import BackupError
from .upkeep.copying import CopyError

ABOUT_DATABASE_URL = (
    f"The database is the one that the server with the same environment serves. DATABASE_URL: "
    f"{Settings.model_fields['database_url'].description}"
)


@click.group(epilog=ABOUT_DATABASE_URL)
def cli() -> None:
    """Look after Confab's database: its schema, its API keys, its backup."""


command = partial(cli.command, epilog=ABOUT_DATABASE_URL)


@contextmanager
def opened(as_it_is: bool = False, makes: bool = True) -> Iterator[Store]:
    """The database, made ready as for serving, or `as_it_is`. What goes wrong is one sentence.

    Unless it `makes` a file of SQLite, an empty one stands in for one that is missing.
    """
    stack = ExitStack()
    try:
        settings = Settings.read(os.environ)
        store = store_at(settings.database_url)
        if not makes and isinstance(store, SqliteStore) and not Path(store.place).exists():
            url = f"sqlite:///{stack.enter_context(TemporaryDirectory())}/empty.db"
            settings = settings.model_copy(update={"database_url": url})
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    try:
        if as_it_is:
            database.initialize(store)
        else:
            store = open_store(settings)
        yield store
    except (StoreError, BackupError, CopyError) as error:
        raise click.ClickException(str(error)) from None
    except Unavailable as error:
        raise click.ClickException(f"{store.place} cannot be used: {reason(error)}.") from None
    except DRIVER_ERRORS as error:
        raise click.ClickException(f"{store.place} cannot be used: {reason(error)}.") from None
    finally:
        store.close_all()
        stack.close()


def reason(error: Exception) -> str:
    return driver_words(error).removesuffix(".")


def readable(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not (text.strip() and text.isprintable()):
        raise click.BadParameter("must be readable text, and not blank.")
    return text


def project_option(
    about: str = "Only what is in this project.  [default: all projects]",
) -> Callable[[Any], Any]:
    """The option --project, which a command has as `project_id`."""
    return click.option("--project", "project_id", metavar="ID", callback=readable, help=about)


def bar(label: str, length: int) -> AbstractContextManager[Any]:
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    )


def table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
