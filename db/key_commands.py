"""The commands for keys and users' tokens: `python -m db create-key --help`."""

import click

from . import api_keys, user_tokens
from .command_line import command, opened, project_option, readable, table


@command()
@project_option(
    "The one project that the key opens, as the API shows its id.  [default: all projects]"
)
@click.option("--name", callback=readable, help="Whom the key is for. list-keys shows it.")
@click.option("--read-only", "is_read_only", is_flag=True, help="It changes nothing.")
@click.option(
    "--expires",
    "days",
    type=click.FloatRange(0, 36_500, min_open=True),
    metavar="DAYS",
    help="It opens nothing after so many days.  [default: never]",
)
def create_key(
    project_id: str | None, name: str | None, is_read_only: bool, days: float | None
) -> None:
    """Make an API key and print it, this once.

    The key alone goes to standard output, so that a script can take it from there. The store keeps
    only its SHA-256 digest.
    """
    with opened():
        plain, row = api_keys.make(project_id, name, is_read_only, days)
    click.echo(plain)
    limits = [" to read"] * is_read_only + [f", until {row.expires_at}"] * (days is not None)
    click.echo(
        f"Key {row.id} opens {_what(project_id)}{''.join(limits)}. Keep it: it is not shown again.",
        err=True,
    )
    click.echo("Send it with each request as X-API-Key.", err=True)


@command()
def list_keys() -> None:
    """List the API keys, oldest first, revoked ones too.

    The list opens nothing: the keys themselves are not stored.
    """
    with opened():
        keys = api_keys.list_all()
    table(
        [("ID", "PROJECT", "NAME", "CREATED", "LAST USED", "EXPIRES", "REVOKED", "")]
        + [
            (
                *(key.id, key.project_id or "all", key.name or "", key.created_at),
                *(_hour(key.used_at), key.expires_at or "", key.revoked_at or ""),
                "read-only" if key.is_read_only else "",
            )
            for key in keys
        ]
    )


@command()
@click.argument("id")
def revoke_key(id: str) -> None:
    """Revoke the API key ID, which list-keys shows.

    It opens nothing from now on, nor do the tokens that were made with it.
    """
    with opened():
        api_keys.revoke(id)
    click.echo(f"Key {id} is revoked.")


def _what(project_id: str | None) -> str:
    return f"project {project_id}" if project_id else "all projects"


def _hour(used_at: str | None) -> str:
    """It is known to the hour when something was used."""
    return used_at[:13].replace("T", " ") + "h" if used_at else ""


@command()
@click.option("--user", "user_id", metavar="ID", required=True, callback=readable, help="Whose.")
@project_option("The one project that the token opens.  [default: all projects]")
@click.option(
    "--expires",
    "seconds",
    type=click.IntRange(1, user_tokens.MAX_SECONDS),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="It opens nothing after so many seconds.",
)
def create_token(user_id: str, project_id: str | None, seconds: int) -> None:
    """Make a token for a user and print it, this once.

    An app may hold it: it opens what is the user's, and nothing else. Apps usually get theirs from
    your server, which asks for them at POST /api/v1/tokens.
    """
    with opened():
        made = user_tokens.make(user_id, project_id, seconds)
    click.echo(made.plain)
    what = f"what is {user_id}'s in {_what(project_id)}"
    click.echo(f"Token {made.row.id} opens {what}, until {made.row.expires_at}.", err=True)
    click.echo("Send it with each request as Authorization: Bearer.", err=True)


@command()
def list_tokens() -> None:
    """List the users' tokens that have not expired, oldest first."""
    with opened():
        tokens = user_tokens.list_all()
    table(
        [("ID", "USER", "PROJECT", "CREATED", "LAST USED", "EXPIRES", "KEY")]
        + [
            (
                *(token.id, token.user_id, token.project_id or "all", token.created_at),
                *(_hour(token.used_at), token.expires_at, token.key_id or ""),
            )
            for token in tokens
        ]
    )


@command()
@click.argument("id")
def revoke_token(id: str) -> None:
    """End the token ID, which list-tokens shows. It opens nothing from now on."""
    with opened():
        user_tokens.revoke(id)
    click.echo(f"Token {id} is revoked.")
