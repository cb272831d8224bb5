"""The command line, `python -m db`: look after the database, its keys, its index, its copies."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import click
from peewee import DatabaseError, InterfaceError

from . import api_keys, erasure, search_index, trash
from .engine.connect import Store, store_at
from .engine.database import database
from .errors import StoreError, Unavailable
from .models import Conversation, Message
from .scope import Scope
from .settings import Settings, SettingsError
from .startup import open_store
from .transfer.arrivals import Options
from .transfer.exporting import FORMATS, export_all
from .transfer.importing import Wanted, import_paths
from .transfer.parsed import Unreadable
from .transfer.progress import Progress
from .upkeep import copying, schema
from .upkeep.backup import BackupError, back_up

ABOUT_DATABASE_URL = (
    f"The database is the one that the server with the same environment serves. DATABASE_URL: "
    f"{Settings.model_fields['database_url'].description}"
)


@click.group(epilog=ABOUT_DATABASE_URL)
def cli() -> None:
    """Look after Confab's database: its schema, its API keys, its backup."""


command = partial(cli.command, epilog=ABOUT_DATABASE_URL)


@contextmanager
def opened(as_it_is: bool = False) -> Iterator[Store]:
    """The database, made ready as for serving, or `as_it_is`. What goes wrong is one sentence."""
    try:
        settings = Settings.read(os.environ)
        store = store_at(settings.database_url)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    try:
        if as_it_is:
            database.initialize(store)
        else:
            store = open_store(settings)
        yield store
    except (StoreError, BackupError, copying.CopyError) as error:
        raise click.ClickException(str(error)) from None
    except Unavailable as error:
        raise click.ClickException(f"{store.place} cannot be used: {_reason(error)}.") from None
    except (DatabaseError, InterfaceError) as error:
        raise click.ClickException(f"{store.place} cannot be used: {_reason(error)}.") from None
    finally:
        store.close_all()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).removesuffix(".")


@command()
def migrate() -> None:
    """Bring the schema up to date.

    A SQLite file is also brought up to date whenever a server opens it.
    """
    with opened(as_it_is=True) as store:
        names = schema.migrate(store)
    click.echo(f"Applied {', '.join(names)}." if names else "The schema is up to date.")


@command()
def status() -> None:
    """Say where the database is, how large it is, and at which version.

    It changes nothing: pending migrations stay pending, and a missing file is not made.
    """
    with opened(as_it_is=True) as store:
        facts = {"database": store.place, "engine": store.engine}
        if store.size is None:
            facts["size"] = "not there yet: `migrate` or the first request makes it"
        else:
            applied = schema.applied(store)
            facts["size"] = f"{store.size:,} bytes"
            facts["applied"] = ", ".join(applied) or "nothing"
            facts["pending"] = ", ".join(schema.pending(store)) or "nothing"
            if applied:
                facts["conversations"] = f"{Conversation.select().count():,}"
                facts["messages"] = f"{Message.select().count():,}"
            if applied and not schema.pending(store):
                facts["behind"] = f"{search_index.count_behind():,} for the search index"
    _table(list(facts.items()))


def _readable(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not (text.strip() and text.isprintable()):
        raise click.BadParameter("must be readable text, and not blank.")
    return text


@command()
@click.option(
    "--project",
    "project_id",
    metavar="ID",
    callback=_readable,
    help="The one project that the key opens, as the API shows its id.  [default: all projects]",
)
@click.option("--name", callback=_readable, help="Whom the key is for. list-keys shows it.")
def create_key(project_id: str | None, name: str | None) -> None:
    """Make an API key and print it, this once.

    The key alone goes to standard output, so that a script can take it from there. The store keeps
    only its SHA-256 digest.
    """
    with opened():
        plain, row = api_keys.make(project_id, name)
    click.echo(plain)
    opens = f"project {project_id}" if project_id else "all projects"
    click.echo(f"Key {row.id} opens {opens}. Keep it: it is not shown again.", err=True)
    click.echo("Send it with each request as X-API-Key.", err=True)


@command()
def list_keys() -> None:
    """List the API keys, oldest first, revoked ones too.

    The list opens nothing: the keys themselves are not stored.
    """
    with opened():
        keys = api_keys.list_all()
    _table(
        [("ID", "PROJECT", "NAME", "CREATED", "REVOKED")]
        + [
            (key.id, key.project_id or "all", key.name or "", key.created_at, key.revoked_at or "")
            for key in keys
        ]
    )


@command()
@click.argument("id")
def revoke_key(id: str) -> None:
    """Revoke the API key ID, which list-keys shows. It opens nothing from now on."""
    with opened():
        api_keys.revoke(id)
    click.echo(f"Key {id} is revoked.")


@command()
def purge() -> None:
    """Empty the trash of what has been there for TRASH_DAYS, and apply RETENTION_DAYS.

    The service does so by itself, a few rows with each write. This does all of it now, beside a
    running server: each step is a short transaction.
    """
    with opened(), _bar("Purging", max(1, trash.waiting())) as bar:
        count = trash.purge_all(lambda done: bar.update(done - bar.pos))
    click.echo(f"{count:,} conversations were purged or put into the trash.")


@command()
@click.option("--anew", is_flag=True, help="Empty the index first, and build it from all texts.")
def index(anew: bool) -> None:
    """Bring the search index up to date now.

    The service does so by itself, with every hundredth write or once a second. Until it has, a
    search looks through what the index lacks, which takes long after a large database was migrated
    or copied. This runs beside a server: each step is a short transaction.
    """
    with opened():
        if anew:
            search_index.empty()
        total = search_index.count_behind()
        with _bar("Indexing", max(1, total)) as bar:
            search_index.follow_all(lambda left: bar.update(max(0, total - left) - bar.pos))
    click.echo(f"The search index is up to date: {total:,} conversations were looked through.")


_user = click.option(
    "--user", "user_id", metavar="ID", required=True, callback=_readable, help="As X-User-Id."
)
_project = click.option(
    "--project",
    "project_id",
    metavar="ID",
    callback=_readable,
    help="Only what is in this project.  [default: all projects]",
)


@command()
@_user
@_project
def erase(user_id: str, project_id: str | None) -> None:
    """Remove all that is stored of a person, for good, and print a receipt as JSON.

    That is conversations, also those in the trash, with messages and events, and stored answers.
    What a legal hold keeps stays: the receipt names it, and the exit status is 1. To keep a copy,
    run export-user first. At the end the SQLite file is written anew (VACUUM), which keeps writers
    waiting for about ten seconds a gigabyte.
    """
    if sys.stdin.isatty():
        click.confirm(f"Erase all of {user_id}?", abort=True, err=True)
    with opened(), _bar("Erasing", 1) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        receipt = erasure.erase(user_id, project_id, show)
    click.echo(json.dumps(receipt._asdict(), ensure_ascii=False, indent=2))
    if receipt.held:
        raise SystemExit(1)


@command()
@_user
@_project
@click.argument("file", type=click.File("w", encoding="utf-8", lazy=True))
def export_user(user_id: str, project_id: str | None, file: IO[str]) -> None:
    """Write all that is stored of a person into FILE, a JSON object a line. `-` prints it.

    A line is a conversation, also one in the trash, or a message, of whatever branch.
    """
    count = 0
    with opened():
        for record in erasure.records_of(user_id, project_id):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += record["type"] == "conversation"
    click.echo(f"{count:,} conversations are in {file.name}.", err=True)


@command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def backup(file: Path, force: bool) -> None:
    """Copy a SQLite database into FILE, safely while it is served.

    FILE is the database as it was when the copy began. It is checked, and it is whole from the
    moment it exists. To restore it, stop the server, delete the database and its -wal and -shm
    files, and put FILE in its place.
    """
    with opened(as_it_is=True) as store, _bar(f"Copying to {file}", 1) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        back_up(store, file, show, replace=force)


@command()
@click.option(
    "--to",
    "url",
    metavar="URL",
    required=True,
    help="An empty database, in the form of DATABASE_URL. To keep its password out of the list of "
    "processes, leave it out here and set PGPASSWORD.",
)
def copy(url: str) -> None:
    """Copy every row into another database, from SQLite to PostgreSQL or back.

    Stop the server first: what is written meanwhile is not copied. A copy that was broken off goes
    on when it is run again. At the end both databases are compared, row by row. The search index is
    not copied: run index on the new database.
    """
    try:
        target = store_at(url)
    except SettingsError as error:
        sentence = str(error).replace("DATABASE_URL", "The URL")
        raise click.BadParameter(sentence, param_hint="--to") from None
    with opened(as_it_is=True) as source:
        try:
            tallies = copying.copy(source, target, _bar)
        except (DatabaseError, InterfaceError) as error:
            message = f"{_reason(error)}. Run it again to go on from here."
            raise click.ClickException(message) from None
        finally:
            target.close_all()
    _table(
        [("TABLE", "ROWS", "CHECKSUM")]
        + [(tally.table, f"{tally.rows:,}", tally.checksum) for tally in tallies]
    )


@command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option(
    "--project",
    "project_id",
    metavar="ID",
    callback=_readable,
    help="The project that gets the conversations.  [default: the file's, or the nil UUID]",
)
@click.option(
    "--user",
    "user_id",
    metavar="ID",
    callback=_readable,
    help="The user whose they become, as X-User-Id.  [default: the file's, or nobody]",
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--update", is_flag=True, help="Overwrite messages that differ from the file.")
@click.option("--restore", is_flag=True, help="Bring back what was deleted here.")
@click.option("--all", "keeps_hidden", is_flag=True, help="Import messages that ChatGPT hides.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report as JSON into FILE, too.",
)
def import_(
    paths: tuple[Path, ...],
    project_id: str | None,
    user_id: str | None,
    dry_run: bool,
    update: bool,
    restore: bool,
    keeps_hidden: bool,
    report: Path | None,
) -> None:
    """Import conversations from exports: a file, a folder or a zip.

    It knows the exports of ChatGPT, Claude, Open WebUI, LibreChat, Grok and llama.cpp, OpenAI's
    items, messages of the AI SDK, fine-tuning and ShareGPT lines, and Confab's own jsonl, by what
    is in them. Branches, times and unknown parts stay as they are. Import a later export again: it
    appends what is new, and what was edited or deleted here stays so.

    It runs beside a server, in short transactions. To search all of it at once, run index
    afterwards. The exit status is 0 if all is in, 1 if some conversations failed, and 2 if nothing
    could be read; then nothing was changed.
    """
    wanted = Wanted(project_id, user_id, keeps_hidden, Options(update, restore, dry_run))
    try:
        with opened(), Progress("Importing") as progress:
            told = import_paths(paths, wanted, progress.show_bytes)
    except Unreadable as error:
        click.echo(f"Error: Nothing was imported: {error}.", err=True)
        raise SystemExit(2) from None
    for line in told.lines():
        click.echo(line)
    if report is not None:
        text = json.dumps(told.as_json(), ensure_ascii=False, indent=2)
        report.write_text(f"{text}\n", encoding="utf-8")
    if told.exit_status:
        raise SystemExit(told.exit_status)


@command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@click.option(
    "--format",
    type=click.Choice(list(FORMATS)),
    default="jsonl",
    show_default=True,
    help="jsonl loses nothing, and import reads it back.",
)
@click.option(
    "--branch",
    type=click.Choice(["all", "active"]),
    default="all",
    show_default=True,
    help="The active branch alone is all that openai, finetune and markdown can have.",
)
@_project
@click.option("--user", "user_id", metavar="ID", callback=_readable, help="Only this user's.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(
    file: Path, format: str, branch: str, project_id: str | None, user_id: str | None, force: bool
) -> None:
    """Write all conversations into FILE, as they are at this moment. `-` prints them.

    Others may read and write meanwhile. What is in the trash is left out. FILE is whole from the
    moment it exists.
    """
    scope = Scope(project_id, user_id)
    is_printed = str(file) == "-"
    if not is_printed and file.exists() and not force:
        raise click.ClickException(
            f"{file} exists: choose another name, or replace it with --force."
        )
    with opened(), Progress("Exporting") as progress:
        if is_printed:
            count = export_all(sys.stdout, format, scope, branch == "active", progress.show)
        else:
            with _whole(file) as part:
                count = export_all(part, format, scope, branch == "active", progress.show)
    click.echo(f"{count:,} conversations are in {file}.", err=True)


@contextmanager
def _whole(file: Path) -> Iterator[IO[str]]:
    """A file that gets its name when it is written. What cannot be written is one sentence."""
    try:
        with TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as folder:
            part = Path(folder, file.name)
            with part.open("w", encoding="utf-8", newline="\n") as opened:
                yield opened
            part.replace(file)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}.") from None


def _bar(label: str, length: int) -> AbstractContextManager[Any]:
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    )


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


if __name__ == "__main__":
    cli()
