"""The command line where no shell reaches the database: a Lambda function beside it.

    aws lambda invoke --function-name confab-manage --cli-binary-format raw-in-base64-out \\
        --payload '{"args": ["create-key", "--name", "phone app"]}' /dev/stdout

Only those who may invoke the function can do this. The API's gateway may not.
"""

from typing import Any, TypedDict

from click.testing import CliRunner

from .__main__ import cli


class Command(TypedDict):
    args: list[str]


class CommandResult(TypedDict):
    stdout: str
    stderr: str
    exit_code: int


def run(event: Command, context: Any) -> CommandResult:
    """Do what `python -m db` does with these arguments. An unforeseen error is raised."""
    result = CliRunner().invoke(cli, event["args"], prog_name="db", catch_exceptions=False)
    return CommandResult(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
