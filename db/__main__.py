"""The command line, `python -m db`: look after the database, its keys, its index, its copies."""

import json
import sys
from pathlib import Path
from typing import IO

import click

from . import erasure, key_commands, search_index, transfer_commands, trash
from .command_line import bar, cli, command, opened, project_option, readable, reason, table
from .engine.connect import store_at
from .engine.database import DRIVER_ERRORS
from .models import Conversation, Message
from .settings import SettingsError
from .upkeep import copying, schema
from .upkeep.backup import back_up

__all__ = ["cli", "key_commands", "transfer_commands"]


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
    table(list(facts.items()))


@command()
def purge() -> None:
    """Empty the trash of what has been there for TRASH_DAYS, and apply RETENTION_DAYS.

    The service does so by itself, a few rows with each write. This does all of it now, beside a
    running server: each step is a short transaction.
    """
    with opened(), bar("Purging", max(1, trash.waiting())) as shown:
        count = trash.purge_all(lambda done: shown.update(done - shown.pos))
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
        with bar("Indexing", max(1, total)) as shown:
            search_index.follow_all(lambda left: shown.update(max(0, total - left) - shown.pos))
    click.echo(f"The search index is up to date: {total:,} conversations were looked through.")


_user = click.option(
    "--user", "user_id", metavar="ID", required=True, callback=readable, help="As X-User-Id."
)


@command()
@_user
@project_option()
def erase(user_id: str, project_id: str | None) -> None:
    """Remove all that is stored of a person, for good, and print a receipt as JSON.

    That is conversations, also those in the trash, with messages and events, stored answers, and
    tokens. What a legal hold keeps stays: the receipt names it, and the exit status is 1. To keep a
    copy, run export-user first. At the end the SQLite file is written anew (VACUUM), which keeps
    writers waiting for about ten seconds a gigabyte. If others read the file all the time, as
    Litestream does, it cannot be: the receipt says so, and the exit status is 1. Stop them, and run
    the same command again.
    """
    if sys.stdin.isatty():
        click.confirm(f"Erase all of {user_id}?", abort=True, err=True)
    with opened(), bar("Erasing", 1) as shown:

        def show(done: int, total: int) -> None:
            shown.length = total
            shown.update(done - shown.pos)

        receipt = erasure.erase(user_id, project_id, show)
    click.echo(json.dumps(receipt._asdict(), ensure_ascii=False, indent=2))
    if receipt.held or not receipt.is_overwritten:
        raise SystemExit(1)


@command()
@_user
@project_option()
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
    with opened(as_it_is=True) as store, bar(f"Copying to {file}", 1) as shown:

        def show(done: int, total: int) -> None:
            shown.length = total
            shown.update(done - shown.pos)

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
            tallies = copying.copy(source, target, bar)
        except DRIVER_ERRORS as error:
            message = f"{reason(error)}. Run it again to go on from here."
            raise click.ClickException(message) from None
        finally:
            target.close_all()
    table(
        [("TABLE", "ROWS", "CHECKSUM")]
        + [(tally.table, f"{tally.rows:,}", tally.checksum) for tally in tallies]
    )


if __name__ == "__main__":
    cli()
