"""`make package`: the zip and its templates in build/, packaged by Chalice from a clean copy.

The copy is needed because Chalice ships everything in vendor/, caches its zip by a hash that
ignores file names, and has one requirements.txt for all stages. A stage may have two files in this
folder: `requirements-STAGE.txt` adds packages to the zip, and Chalice merges the template
`STAGE.json` into its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chalice.cli.factory import CLIFactory
from chalice.constants import MISSING_DEPENDENCIES_TEMPLATE

from deploy import lean, manage, per_function

ROOT = Path(__file__).parents[1]
PACKAGES = ("handlers", "db")
# Modules, and the files of the pages and of the reference.
SHIPPED = {".py", ".html", ".css", ".js", ".svg", ".json"}
FILES = ("deployment.zip", "sam.json", "per-function.json")
# What the zip has only if the stage sets this variable. With PyJWT and the cryptography that it
# needs, the zip is twice as large, and each cold start has to load it.
ONLY_WITH = {"PyJWT": "OIDC_ISSUER"}


def main() -> None:
    stages = json.loads((ROOT / ".chalice" / "config.json").read_text())["stages"]
    parser = ArgumentParser(description="Package the app for Lambda.")
    parser.add_argument("--stage", default="prod", choices=stages)
    parser.add_argument("--out", type=Path, default=ROOT / "build")
    options = parser.parse_args()
    package(options.stage, options.out)


def package(stage: str, out: Path) -> None:
    """Write deployment.zip, sam.json and, if the stage can be divided, per-function.json."""
    for name in FILES:  # they may be another stage's
        (out / name).unlink(missing_ok=True)
    with TemporaryDirectory() as folder:
        project = Path(folder)
        copy_project(project, stage)
        run_chalice(project, stage, out)
    lean.make_lean(out / "deployment.zip", sources=("app.py", *PACKAGES))
    write_templates(stage, out)


def copy_project(project: Path, stage: str) -> None:
    """Copy what ships, and nothing else."""
    shutil.copy(ROOT / "app.py", project)
    (project / ".chalice").mkdir()
    shutil.copy(ROOT / ".chalice" / "config.json", project / ".chalice")
    for name in PACKAGES:
        files = (file for file in (ROOT / name).rglob("*") if file.suffix in SHIPPED)
        for source in files:
            target = project / "vendor" / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    lists = [ROOT / "requirements.txt", ROOT / "deploy" / f"requirements-{stage}.txt"]
    lines = [line for path in lists if path.exists() for line in path.read_text().splitlines()]
    given = CLIFactory(str(ROOT)).create_config_obj(stage).environment_variables
    wanted = [line for line in lines if is_wanted(line, given)]
    (project / "requirements.txt").write_text("\n".join(wanted))


def is_wanted(requirement: str, variables: Mapping[str, str]) -> bool:
    """Whether the zip of a stage with these variables has the package."""
    name = re.split(r"\W", requirement)[0]
    return name not in ONLY_WITH or bool(variables.get(ONLY_WITH[name]))


def run_chalice(project: Path, stage: str, out: Path) -> None:
    template = ROOT / "deploy" / f"{stage}.json"
    merge = ["--merge-template", str(template)] if template.exists() else []
    done = subprocess.run(  # noqa: S603 - nobody else chooses the arguments
        [sys.executable, "-c", "from chalice.cli import main; main()", "--project-dir",
         str(project), "package", "--stage", stage, *merge, str(out.resolve())],
        env={
            # Chalice asks for a region. Here it uses only the names of the region's partition.
            "AWS_DEFAULT_REGION": "us-east-1",
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",  # Chalice imports the copy; no caches in it
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )  # fmt: skip
    print(done.stdout, end="")
    refuse_if_incomplete(done.stdout)


def refuse_if_incomplete(output: str) -> None:
    """Chalice reports packages for which it finds no wheel, and goes on without them."""
    opening, _, _ = MISSING_DEPENDENCIES_TEMPLATE.partition("%s")
    if opening.strip() in output:
        raise SystemExit("The zip is incomplete: it lacks the packages above. Do not deploy it.")


def write_templates(stage: str, out: Path) -> None:
    """Add to Chalice's template what Chalice cannot express."""
    config = CLIFactory(str(ROOT)).create_config_obj(stage)
    template = json.loads((out / "sam.json").read_text())
    if manage.is_wanted(config):
        manage.add(template, config)
        write(template, out / "sam.json")
    try:
        write(per_function.divide(template, config), out / "per-function.json")
    except per_function.NotDivisible as reason:
        print(f"No per-function.json for stage {stage}: {reason}", file=sys.stderr)
    except per_function.ConfigError as error:
        raise SystemExit(f".chalice/config.json: {error}") from None


def write(template: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(template, indent=2) + "\n")


if __name__ == "__main__":
    main()
