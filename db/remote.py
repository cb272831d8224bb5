"""The command line where no shell reaches the database: a Lambda function beside it.

    aws lambda invoke --function-name confab-manage --cli-binary-format raw-in-base64-out \\
        --payload '{"args": ["create-key", "--name", "phone app"]}' /dev/stdout

Only who may invoke the function may do this: the API's gateway may not.
"""

from typing import Any, TypedDict

from click.testing import CliRunner

from .__main__ import cli


class Command(TypedDict):
    args: list[str]


class Outcome(TypedDict):
    stdout: str
    stderr: str
    exit_code: int


def run(event: Command, context: Any) -> Outcome:
    """What `python -m db` does with these arguments. What it does not foresee is raised."""
    result = CliRunner().invoke(cli, event["args"], prog_name="db", catch_exceptions=False)
    return Outcome(stdout=result.stdout, stderr=result.stderr, exit_code=result.exit_code)
