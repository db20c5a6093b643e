"""Type checking of code that uses the public names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent


def lines_refused(name: str) -> set[int]:
    """Return the lines with errors that mypy finds with the project's settings."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = [re.match(r"([^:]+):(\d+): error: ", line) for line in done.stdout.splitlines()]
    elsewhere = [line[0] for line in found if line and line[1] != name]
    assert not elsewhere, done.stdout
    return {int(line[2]) for line in found if line}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["examples", "mistakes"])
def test_a_type_checker_knows_the_signatures(name: str) -> None:
    path = f"tests/typed/{name}.py"
    lines = (ROOT / path).read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}

    assert lines_refused(path) == wrong
