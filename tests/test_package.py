"""Tests that the zip and its templates hold all that is needed, and nothing else."""

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from zipfile import ZipFile

import pytest
from chalice.constants import MISSING_DEPENDENCIES_TEMPLATE
from pydantic import SecretStr

from app import app
from db.settings import Settings
from deploy.package import is_wanted, refuse_if_incomplete

from .support.api_gateway import function_of
from .support.packages import (
    ROOT,
    Package,
    copy_checkout,
    functions_of,
    integrations,
    make_package,
    run,
)

pytest.importorskip("cfnlint")
transform = pytest.importorskip("samtranslator.translator.transform").transform

MAX_ZIP = 6_000_000  # bytes
TEMPLATES = [
    ("prod", "sam.json"),
    ("prod", "per-function.json"),
    ("efs", "sam.json"),
    ("postgres", "sam.json"),
    ("postgres", "per-function.json"),
]
UNWANTED = re.compile(
    r"(^|/)(tests?|\.\w+|botocore|boto3|pytest|vendor|deploy)/"
    r"|\.(db|sqlite3?|zip)$"
    r"|^chalice/(?!(__init__|app)\.pyc$)"
)
BY_TEMPLATE = pytest.mark.parametrize(("stage", "name"), TEMPLATES)
ROUTES = {(path, method) for path, methods in app.routes.items() for method in methods}
OWN = {"app.py"} | {
    str(path.relative_to(ROOT))
    for folder in ("handlers", "db")
    for path in (ROOT / folder).rglob("*.*")
    if path.suffix in (".py", ".html", ".css", ".js", ".svg", ".json")
}


def caches_of(names: set[str]) -> set[str]:
    """The bytecode that is beside our sources."""
    modules = {Path(name) for name in names if name.endswith(".py")}
    tag = sys.implementation.cache_tag
    return {str(it.parent / "__pycache__" / f"{it.stem}.{tag}.pyc") for it in modules}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that packaging reads, with empty requirements.

    Real ones take a minute to download and do not change how our own files are packaged.
    """
    root = copy_checkout(tmp_path / "checkout")
    (root / "requirements.txt").write_text("")
    return root


def test_the_zip_holds_the_app_and_what_requirements_name_and_nothing_else(
    package: Callable[[str], Package],
):
    prod = package("prod")
    installed = {
        name
        for record in prod.task.glob("*.dist-info/RECORD")
        for name, *_ in csv.reader(record.read_text().splitlines())
    }
    installed |= {"chalice/__init__.py", "chalice/app.py"}
    as_bytecode = {re.sub(r"\.py$", ".pyc", name) for name in installed}
    assert set(prod.names) - as_bytecode == OWN | caches_of(OWN)


@pytest.mark.parametrize("stage", ["prod", "efs", "postgres"])
def test_no_test_cache_database_or_tool_is_in_the_zip(
    stage: str, package: Callable[[str], Package]
):
    assert [name for name in package(stage).names if UNWANTED.search(name)] == []


def test_the_zip_can_check_a_providers_tokens_if_the_stage_names_a_provider(
    package: Callable[[str], Package], tmp_path: Path
):
    checkout = copy_checkout(
        tmp_path / "checkout", OIDC_ISSUER="https://id.example.org", OIDC_AUDIENCE="app"
    )
    file = checkout / "requirements.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if line.startswith("PyJWT")))
    of_a_provider = make_package("prod", tmp_path / "build", checkout)
    assert "jwt/__init__.pyc" in of_a_provider.names
    assert not any(name.startswith(("jwt/", "cryptography/")) for name in package("prod").names)


@pytest.mark.parametrize(
    ("variables", "is_there"),
    [({}, False), ({"OIDC_ISSUER": ""}, False), ({"OIDC_ISSUER": "x"}, True)],
)
def test_what_checks_a_providers_tokens_is_there_if_there_is_a_provider(
    variables: dict[str, str], is_there: bool
):
    assert is_wanted("PyJWT[crypto]==2.15.1", variables) == is_there
    assert is_wanted("pydantic==2.14.3", variables)


def test_the_zip_has_less_than_six_megabytes(package: Callable[[str], Package]):
    assert package("prod").zip.stat().st_size < MAX_ZIP


def test_lambdas_user_may_read_every_file_in_the_zip(package: Callable[[str], Package]):
    infos = ZipFile(package("prod").zip).infolist()
    assert {info.external_attr >> 16 for info in infos} == {0o644}


def test_the_driver_is_in_the_zip_only_of_the_build_that_needs_it(
    package: Callable[[str], Package],
):
    with_driver = {
        stage
        for stage in ("prod", "efs", "postgres")
        if any(name.startswith("psycopg/") for name in package(stage).names)
    }
    assert with_driver == {"postgres"}


@pytest.mark.parametrize("stage", ["prod", "efs", "postgres"])
def test_opentelemetry_is_in_no_zip(stage: str, package: Callable[[str], Package]):
    assert [name for name in package(stage).names if "opentelemetry" in name] == []


def test_stray_files_in_the_checkout_are_not_packaged(checkout: Path, tmp_path: Path):
    for stray in ("db/confab.db", "handlers/notes.txt", "handlers/__pycache__/old.cpython-311.pyc"):
        (checkout / stray).parent.mkdir(exist_ok=True)
        (checkout / stray).touch()
    names = make_package("prod", tmp_path / "build", checkout).names
    ours = {name for name in names if not name.startswith("chalice/")}
    assert ours == OWN | caches_of(OWN)


@pytest.mark.system
def test_the_same_checkout_gives_the_same_zip(checkout: Path, tmp_path: Path):
    """CloudFormation then deploys nothing if nothing has changed."""
    first, second = (make_package("prod", tmp_path / name, checkout) for name in ("1", "2"))
    assert first.zip.read_bytes() == second.zip.read_bytes()


def test_after_a_rename_the_zip_has_the_new_name_only(checkout: Path, tmp_path: Path):
    module = checkout / "db" / "old_name.py"
    module.touch()
    assert "db/old_name.py" in make_package("prod", tmp_path / "build", checkout).names
    module.rename(module.with_name("new_name.py"))
    names = make_package("prod", tmp_path / "build", checkout).names
    assert "db/new_name.py" in names
    assert "db/old_name.py" not in names


@pytest.mark.parametrize("format", ["cloudformation", "terraform"])
def test_plain_chalice_package_carries_our_packages_too(
    format: str, checkout: Path, tmp_path: Path
):
    run(
        [sys.executable, "-c", "from chalice.cli import main; main()", "package",
         "--stage", "prod", "--pkg-format", format, str(tmp_path / "build")],
        checkout,
        AWS_DEFAULT_REGION="us-east-1",
        HOME=str(tmp_path),
        PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert set(Package(tmp_path / "build").names) >= OWN


def test_packaging_neither_makes_a_database_nor_needs_one(checkout: Path, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    run(
        [sys.executable, "-m", "deploy.package", "--out", str(tmp_path / "build")],
        checkout,
        HOME=str(home),
    )
    assert list(home.rglob("*")) == []


def test_a_zip_that_lacks_a_package_is_refused():
    refuse_if_incomplete("Creating deployment package.\n")
    with pytest.raises(SystemExit, match="incomplete"):
        refuse_if_incomplete(MISSING_DEPENDENCIES_TEMPLATE % "psycopg-binary==3.3.9")


@pytest.mark.parametrize("stage", ["typo", "Prod"])
def test_an_unknown_stage_is_refused(stage: str, checkout: Path, tmp_path: Path):
    with pytest.raises(AssertionError, match="invalid choice"):
        make_package(stage, tmp_path / "build", checkout)


@pytest.mark.system
def test_cfn_lint_finds_nothing_in_any_template_nor_in_the_deployers_policy(
    package: Callable[[str], Package], tmp_path: Path
):
    document = json.loads((ROOT / "deploy" / "policy.json").read_text())
    policy = {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}
    (tmp_path / "policy.json").write_text(json.dumps({"Resources": {"Policy": policy}}))
    files = [str(package(stage).folder / name) for stage, name in TEMPLATES]
    files.append(str(tmp_path / "policy.json"))
    lint = "from cfnlint.runner import main; main()"
    run([sys.executable, "-c", lint, "--regions", "us-east-1", "--", *files], ROOT)


@BY_TEMPLATE
def test_sam_expands_a_template_to_an_api_with_its_functions(
    stage: str, name: str, package: Callable[[str], Package], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    template = package(stage).template(name)
    functions = functions_of(template)
    for function in functions.values():  # as `aws cloudformation package` writes it
        function["Properties"]["CodeUri"] = "s3://bucket/deployment.zip"
    expanded = transform(template, {}, NoManagedPolicies())["Resources"]
    types = [resource["Type"] for resource in expanded.values()]
    assert types.count("AWS::Lambda::Function") == len(functions)
    assert types.count("AWS::ApiGateway::RestApi") == types.count("AWS::ApiGateway::Stage") == 1


@BY_TEMPLATE
def test_a_templates_routes_are_the_apps(stage: str, name: str, package: Callable[[str], Package]):
    assert set(integrations(package(stage).template(name))) == ROUTES


@BY_TEMPLATE
def test_the_gateway_may_invoke_each_function_that_it_integrates(
    stage: str, name: str, package: Callable[[str], Package]
):
    template = package(stage).template(name)
    permitted = {
        resource["Properties"]["FunctionName"]["Ref"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Permission"
    }
    assert permitted == {function_of(i) for i in integrations(template).values()}


def test_the_efs_stage_keeps_its_file_on_the_mount_with_one_writer(
    package: Callable[[str], Package],
):
    efs = package("efs")
    function = functions_of(efs.template("sam.json"))["APIHandler"]["Properties"]
    (mount,) = function["FileSystemConfigs"]
    url = function["Environment"]["Variables"]["DATABASE_URL"]
    assert url.startswith(f"sqlite:///{mount['LocalMountPath']}/")
    assert url.endswith("?journal_mode=delete")
    assert function["ReservedConcurrentExecutions"] == 1
    assert not (efs.folder / "per-function.json").exists()


def test_the_configuration_holds_no_secret():
    fields = Settings.model_fields.items()
    secret = {name for name, field in fields if SecretStr in get_args(field.annotation)}
    config = (ROOT / ".chalice" / "config.json").read_text()
    assert secret
    assert [name for name in secret if name.upper() in config] == []
    assert "@" not in config  # as in postgresql://user:password@host


class NoManagedPolicies:
    """SAM asks AWS for the ARNs of managed policies. Our templates name none."""

    def load(self) -> dict[str, str]:
        return {}
