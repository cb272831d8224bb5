"""Tests systemd's unit: that it is one, and that it is hardened."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .support.processes import BIN, ROOT

UNIT = (ROOT / "deploy/confab.service").read_text()

pytestmark = pytest.mark.system


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with the paths of this machine."""
    text = UNIT.replace("/opt/confab/.venv-production/bin", str(BIN)).replace(
        "/opt/confab", str(ROOT)
    )
    file = tmp_path / "confab.service"
    file.write_text(text)
    return file


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("systemd-analyze")
    assert command is not None, "install systemd"
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False)


def test_the_unit_is_valid(unit: Path):
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_hardened(unit: Path):
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", unit)
    assert done.returncode == 0, done.stdout
    found = re.search(r"Overall exposure level for confab.service: ([\d.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= 2.0
