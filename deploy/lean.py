"""Make Chalice's zip lean, quick to start and reproducible.

Where Lambda unpacks it nothing can be written, so Python would compile every module at every cold
start. Compiling what we depend on beforehand brings the first answer, measured in AWS's runtime
client, from 0.44 s to 0.20 s. Our own modules stay sources: logs quote their lines, and
migrations are found as such. The bytecode is for the Python that packages, as are the wheels, and
as Chalice names it in the template's `Runtime`.
"""

import compileall
import re
from collections.abc import Collection
from pathlib import Path
from py_compile import PycInvalidationMode
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

TASK_ROOT = "/var/task"
NEVER_RUN = re.compile(r"(^|/)tests/|\.pyi$|^pwiz\.py$")
SAME_FOR_EVERYBODY = 0o644 << 16  # the function runs as a user of its own


def make_lean(zip: Path, sources: Collection[str]) -> None:
    """Rewrite `zip` without what never runs, all but the top-level `sources` as bytecode."""
    with TemporaryDirectory() as folder:
        task = Path(folder)
        with ZipFile(zip) as fat:
            fat.extractall(task, [name for name in fat.namelist() if not NEVER_RUN.search(name)])
        for top in task.iterdir():
            if top.name not in sources:
                to_bytecode(top, task)
        # Sorted and without times, so that the same code is the same zip, which CloudFormation
        # need not deploy again.
        with ZipFile(zip, "w", ZIP_DEFLATED) as lean:
            for file in sorted(path for path in task.rglob("*") if path.is_file()):
                info = ZipInfo(file.relative_to(task).as_posix())
                info.external_attr = SAME_FOR_EVERYBODY
                lean.writestr(info, file.read_bytes(), ZIP_DEFLATED)


def to_bytecode(top: Path, task: Path) -> None:
    """Put `module.pyc` in the place of each `module.py`."""
    for source in [top] if top.suffix == ".py" else top.rglob("*.py"):
        compiled = compileall.compile_file(
            source,
            stripdir=task,
            prependdir=TASK_ROOT,
            legacy=True,
            quiet=1,
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        if compiled:  # else, as a template that only looks like Python, it is left as it was
            source.unlink()
