"""Builds and unpacks what `make package` writes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]


class Package(NamedTuple):
    folder: Path

    @property
    def zip(self) -> Path:
        return self.folder / "deployment.zip"

    @property
    def task(self) -> Path:
        """The folder with the zip's content, which is /var/task on Lambda."""
        return self.folder / "task"

    @property
    def names(self) -> list[str]:
        return ZipFile(self.zip).namelist()

    def template(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text())


def make_package(stage: str, folder: Path, root: Path = ROOT) -> Package:
    """Run what `make package` runs in the checkout at `root`."""
    run([sys.executable, "-m", "deploy.package", "--stage", stage, "--out", str(folder)], root)
    package = Package(folder)
    ZipFile(package.zip).extractall(package.task)
    return package


def copy_checkout(root: Path, **variables: str) -> Path:
    """A copy of the files that packaging reads. Its stages set these variables."""
    for name in ("handlers", "db", "deploy", "vendor"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignored)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    for stage in config["stages"].values():
        stage["environment_variables"] |= variables
    (root / ".chalice").mkdir()
    (root / ".chalice" / "config.json").write_text(json.dumps(config))
    return root


def run(command: Sequence[str], folder: Path, **environment: str) -> str:
    """Run a command that must succeed, and return its standard error."""
    done = subprocess.run(
        command, cwd=folder, env=environment or None, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def functions_of(template: dict[str, Any]) -> dict[str, Any]:
    resources = template["Resources"]
    return {n: r for n, r in resources.items() if r["Type"] == "AWS::Serverless::Function"}


def integrations(template: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the integrations that invoke a function, by path and method."""
    paths = template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
    return {
        (path, method.upper()): integration
        for path, operations in paths.items()
        for method, operation in operations.items()
        for integration in [operation["x-amazon-apigateway-integration"]]
        if integration["type"] == "aws_proxy"
    }
