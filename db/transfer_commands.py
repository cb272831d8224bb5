"""The commands `import` and `export`: `python -m db import --help`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import click

from .command_line import command, opened, project_option, readable
from .scope import Scope
from .startup import open_once
from .transfer.arrivals import Options
from .transfer.exporting import FORMATS, export_all
from .transfer.importing import Wanted, import_paths
from .transfer.parsed import Unreadable
from .transfer.progress import Progress
from .transfer.report import Report


@command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@project_option("The project that gets the conversations.  [default: the file's, or the nil UUID]")
@click.option(
    "--user",
    "user_id",
    metavar="ID",
    callback=readable,
    help="The user whose they become, as X-User-Id.  [default: the file's, or nobody]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would happen, and change nothing. Each of several exports counts for itself.",
)
@click.option("--update", is_flag=True, help="Overwrite messages that differ from the file.")
@click.option("--restore", is_flag=True, help="Bring back what was deleted here.")
@click.option("--all", "keeps_hidden", is_flag=True, help="Import messages that ChatGPT hides.")
@click.option(
    "--report",
    type=click.File("w", encoding="utf-8", lazy=False),
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
    report: IO[str] | None,
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
    told = Report()
    try:
        with opened(makes=not dry_run), Progress("Importing") as progress:
            import_paths(paths, wanted, progress.show_bytes, open_once, told)
    except Unreadable as error:
        click.echo(f"Error: Nothing was imported: {error}.", err=True)
        raise SystemExit(2) from None
    finally:  # also of what was done before the disk was full, or somebody pressed Ctrl-C
        for line in told.lines() if told.found else []:
            click.echo(line)
        if report is not None:
            report.write(json.dumps(told.as_json(), ensure_ascii=False, indent=2) + "\n")
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
@project_option()
@click.option("--user", "user_id", metavar="ID", callback=readable, help="Only this user's.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(
    file: Path, format: str, branch: str, project_id: str | None, user_id: str | None, force: bool
) -> None:
    """Write all conversations into FILE, as they are at this moment. `-` prints them.

    Others may read and write meanwhile. What is in the trash is left out. FILE is whole from the
    moment it exists, unless it is a device or a pipe. The exit status is 1 if some conversation
    could not be written.
    """
    scope = Scope(project_id, user_id)
    is_printed = str(file) == "-"
    if not is_printed and file.exists() and not force:
        raise click.ClickException(
            f"{file} exists: choose another name, or replace it with --force."
        )
    target = _printed() if is_printed else _whole(file)
    with opened(), Progress("Exporting") as progress, target as part:
        done = export_all(part, format, scope, branch == "active", progress.show)
    for failed in done.failed:
        click.echo(f"Error: {failed}.", err=True)
    click.echo(f"{done.written:,} conversations are in {file}.", err=True)
    if done.failed:
        raise SystemExit(1)


@contextmanager
def _printed() -> Iterator[IO[str]]:
    """Standard output. That a disk is full is one sentence."""
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Else Python would try it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.ClickException(f"The output cannot be written: {error.strerror}.") from None


@contextmanager
def _whole(file: Path) -> Iterator[IO[str]]:
    """A file that gets its name when it is written. What cannot be written is one sentence."""
    try:
        if file.exists() and not file.is_file():  # a device or a pipe is not replaced
            with file.open("w", encoding="utf-8", newline="\n") as written:
                yield written
            return
        with TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as folder:
            part = Path(folder, file.name)
            with part.open("w", encoding="utf-8", newline="\n") as written:
                yield written
                written.flush()
                os.fsync(written.fileno())
            part.replace(file)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}.") from None
