"""Recorded tracebacks, with the frames of the project's own code first.

A traceback is text from another process, perhaps on another machine, so that frames are told apart
by their paths alone: those of installed packages, of Python, and of this package aren't the user's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

MAX_FRAMES = 10
PACKAGE = Path(__file__).parent.parent.name

_FRAME = re.compile(
    r'^  File "(?P<path>[^"\n]+)", line (?P<line>\d+), in (?P<function>.+)\n'
    r"(?P<code>(?:    .*(?:\n|$))*)",
    re.MULTILINE,
)
_FOREIGN = re.compile(
    rf"(^<|[/\\](site|dist)-packages[/\\]|[/\\]lib(64)?[/\\]python[\d.]+[/\\]|[/\\]{PACKAGE}[/\\])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame of the project's own code."""

    path: str
    line: int
    function: str
    code: str


def own_frames(traceback: str) -> list[Frame]:
    """Return the frames of the project's own code, the innermost first, without its folder."""
    found = [
        Frame(
            path=_shortened(match["path"]),
            line=int(match["line"]),
            function=match["function"],
            code=_code(match["code"]),
        )
        for match in _FRAME.finditer(traceback)
        if not _FOREIGN.search(match["path"])
    ]
    return found[::-1][:MAX_FRAMES]


def _code(text: str) -> str:
    """Return the line of code, without the marks that Python puts below it."""
    lines = [line[4:] for line in text.splitlines()]
    return "\n".join(line for line in lines if line.strip("~^ "))


def _shortened(path: str) -> str:
    base = str(getattr(settings, "BASE_DIR", ""))
    return path[len(base) :].lstrip("/\\") if base and path.startswith(f"{base}/") else path
