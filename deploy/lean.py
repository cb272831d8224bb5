"""Make Chalice's zip lean, quick to start and reproducible.

Lambda unpacks the zip where nothing can be written. There, Python would compile every module at
every cold start. So all are compiled beforehand. Our own modules stay as sources, too, because
tracebacks in the log quote their lines and migrations are found as `*.py`. The bytecode and the
wheels fit the Python that packages. Chalice writes this version into the template's `Runtime`.
"""

import compileall
import re
from collections.abc import Collection
from pathlib import Path
from py_compile import PycInvalidationMode
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

TASK_ROOT = "/var/task"
# Lambda brings its own server, so it needs no parser of requests. A model is asked without anyio,
# and nothing is of Pydantic 1. Of Swagger UI's package only the files are served, so it needs
# nothing of the framework that the package is made for. This brings a part of OpenTelemetry, which
# would hide the one of a layer.
NEVER_RUN = re.compile(
    r"(^|/)tests/|\.pyi$|/sboms/|^pwiz\.py$|^bin/fastapi$|^pydantic/(v1/|mypy\.)"
    r"|^(anyio|httptools|fastapi|starlette|annotated_doc|opentelemetry(_api)?)[-/]"
)
SAME_FOR_EVERYBODY = 0o644 << 16  # the function runs as a user of its own


def make_lean(zip: Path, sources: Collection[str]) -> None:
    """Rewrite `zip` without what never runs, and with bytecode: beside the top-level `sources`, and
    in the place of all others.
    """
    with TemporaryDirectory() as folder:
        task = Path(folder)
        with ZipFile(zip) as fat:
            fat.extractall(task, [name for name in fat.namelist() if not NEVER_RUN.search(name)])
        for top in list(task.iterdir()):
            to_bytecode(top, task, is_kept=top.name in sources)
        # The files are sorted and have no times. So the same code makes the same zip, and
        # CloudFormation does not deploy it again.
        with ZipFile(zip, "w", ZIP_DEFLATED) as lean:
            for file in sorted(path for path in task.rglob("*") if path.is_file()):
                info = ZipInfo(file.relative_to(task).as_posix())
                info.external_attr = SAME_FOR_EVERYBODY
                lean.writestr(info, file.read_bytes(), ZIP_DEFLATED)


def to_bytecode(top: Path, task: Path, is_kept: bool) -> None:
    """Replace each `module.py` by its `module.pyc`, or add this in `__pycache__`."""
    for source in [top] if top.suffix == ".py" else top.rglob("*.py"):
        compiled = compileall.compile_file(
            source,
            stripdir=task,
            prependdir=TASK_ROOT,
            legacy=not is_kept,
            quiet=1,
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        if compiled and not is_kept:  # a template that only looks like Python stays as it is
            source.unlink()
