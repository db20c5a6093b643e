"""Calls of the commands, as text and as JSON, with their exit codes."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command


def run(command: str, *arguments: str) -> str:
    """Return what a command prints."""
    output = StringIO()
    call_command(command, *arguments, stdout=output, stderr=StringIO())
    return output.getvalue()


def run_json(command: str, *arguments: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads(run(command, *arguments, "--format", "json"))


def refusal(command: str, *arguments: str) -> tuple[int, str]:
    """Return the exit code and the message of a command that is refused."""
    with pytest.raises(CommandError) as caught:
        run(command, *arguments)
    return caught.value.returncode, str(caught.value)
