"""The documentation site: Sphinx reads the Markdown pages by MyST. `make docs` builds it.

Sphinx, because it is maintained (releases every few months, by several people) and is what Django
and its packages use; MkDocs 1.x has had no release since 2024.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# The version is read from the source, so that the site needs neither Django nor the package.
PROJECT = Path(__file__).resolve().parent.parent
for line in (PROJECT / "django_dbos" / "__init__.py").read_text().splitlines():
    if line.startswith("__version__"):
        release = line.split('"')[1]
        break
else:
    sys.exit("django_dbos/__init__.py has no __version__.")

project = "django_dbos"
author = "django_dbos contributors"
version = release

extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build"]
# Fail on a link or a heading that leads nowhere, in any page.
nitpicky = True

myst_enable_extensions = ["smartquotes"]
# GitHub's anchors: `guides/workers.md#signals`.
myst_heading_anchors = 3
# A prompt isn't copied, and neither is what a command prints.
copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = f"django_dbos {release}"
html_show_copyright = False
html_show_sphinx = False
# The list of pages that language models look for. It links their sources: see copy_sources().
html_extra_path = ["llms.txt"]


def copy_sources(app: Sphinx, error: Exception | None) -> None:
    """Copy each page's Markdown to the place beside its HTML."""
    if error is None and app.builder.format == "html":
        for name in app.env.found_docs:
            shutil.copyfile(app.env.doc2path(name), Path(app.outdir, f"{name}.md"))


def setup(app: Sphinx) -> None:
    app.connect("build-finished", copy_sources)
