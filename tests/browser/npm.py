"""Packages of the npm registry, installed into a folder of this run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "axe-core@4",
    "htmx.org@4",
    "@alpinejs/csp@3",
    "@durable-streams/client@0.2",
    "react@19",
    "react-dom@19",
    "esbuild@0.28",
)


class Npm:
    """A folder with the packages; the first use installs them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, path: str) -> Path:
        """Return the path of a file of a package."""
        if not (self._folder / "node_modules").exists():
            self._install()
        return self._folder / "node_modules" / path

    def bundle(self, source: Path, target: Path) -> None:
        """Make one script of a module with its packages, as a project's build does."""
        program = self.file("esbuild/bin/esbuild")
        shutil.copy(source, self._folder / source.name)
        options = ["--bundle", "--jsx=automatic", f"--outfile={target}", "--log-level=warning"]
        subprocess.run([program, source.name, *options], cwd=self._folder, check=True)

    def _install(self) -> None:
        if not (npm := shutil.which("npm")):
            raise LookupError(
                "There is no npm for the browser tests. Install Node.js, or leave these tests out "
                "by DBOS_TEST_CHROMIUM=none."
            )
        options = ["--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--silent"]
        subprocess.run([npm, "install", *options, *PACKAGES], cwd=self._folder, check=True)
