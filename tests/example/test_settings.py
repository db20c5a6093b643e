"""The shop's settings where it isn't a demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_deployment_has_no_warnings(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "example_project.config.settings",
        "DEBUG": "0",
        "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz" * 2,
        "DEMO_DIR": str(tmp_path),
        "BEHIND_PROXY": "1",
    }
    command = [sys.executable, "-m", "django", "check", "--deploy", "--fail-level", "WARNING"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
