"""Find the Pythons of this machine by running them.

A name on the path proves nothing: version managers put shims there that only print "command
not found", while the real interpreters are in the manager's own folders. The discovery of uv
(0.13) and of tox (python-discovery 1.9) stops at the shims: with four series of pyenv's and one
of them activated, it finds one. So both places are searched, and every candidate is run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

OLDEST = (3, 11)
NAME = re.compile(r"python(3(\.(?P<minor>\d+))?)?")
# Where version managers and installers keep interpreters: a variable, else a folder in the home.
MANAGERS = [
    ("PYENV_ROOT", ".pyenv", "versions/*/bin"),
    ("ASDF_DATA_DIR", ".asdf", "installs/python/*/bin"),
    ("MISE_DATA_DIR", ".local/share/mise", "installs/python/*/bin"),
    ("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", "*/bin"),
    ("HOMEBREW_PREFIX", "/opt/homebrew", "opt/python@3*/bin"),
    ("", "/usr/local", "opt/python@3*/bin"),
    ("", "/Library/Frameworks/Python.framework", "Versions/3*/bin"),
]
QUESTION = """
import importlib.util, json, platform, sys
print(json.dumps({
    "version": sys.version_info[:3],
    "path": getattr(sys, "_base_executable", "") or sys.executable,
    "is_release": sys.version_info.releaselevel == "final"
                  and platform.python_implementation() == "CPython",
    "missing": [name for name in ("venv", "ensurepip", "sqlite3", "ssl")
                if importlib.util.find_spec(name) is None],
}))
"""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that ran and reported its version."""

    version: tuple[int, int, int]
    path: Path
    is_release: bool
    missing: tuple[str, ...]

    @property
    def series(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


def find() -> dict[str, Interpreter]:
    """Return the best interpreter of each series, `{"3.11": …, "3.13": …}`, oldest first."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = [answer for answer in pool.map(inspect, set(candidates())) if answer is not None]
    best: dict[str, Interpreter] = {}
    # Complete ones win, then the latest patch; the path makes the choice the same every time.
    for python in sorted(found, key=lambda found: (not found.missing, found.version, found.path)):
        if python.is_release and python.version >= OLDEST:
            best[python.series] = python
    return dict(sorted(best.items(), key=lambda item: item[1].version))


def candidates() -> Iterator[Path]:
    """Yield files whose names are those of a Python that is new enough."""
    yield Path(sys.executable)
    for folder in [*path_folders(), *manager_folders()]:
        for path in folder.glob("python*"):
            match = NAME.fullmatch(path.name)
            if match and int(match["minor"] or OLDEST[1]) >= OLDEST[1]:
                yield path


def path_folders() -> list[Path]:
    return [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]


def manager_folders() -> Iterator[Path]:
    for variable, default, pattern in MANAGERS:
        folder = Path(os.environ.get(variable) or Path.home() / default)
        yield from folder.expanduser().glob(pattern)


def inspect(candidate: Path) -> Interpreter | None:
    """Run a candidate; return None for a broken build or a shim without a Python behind it."""
    try:
        answer = subprocess.run(
            [candidate, "-I", "-c", QUESTION],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        facts = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(
        version=tuple(facts["version"]),
        path=Path(facts["path"]),
        is_release=facts["is_release"],
        missing=tuple(facts["missing"]),
    )


if __name__ == "__main__":
    for interpreter in find().values():
        lacks = f"   (lacks {', '.join(interpreter.missing)})" if interpreter.missing else ""
        print(f"{interpreter.series} -> {interpreter.path}{lacks}")
