"""The workflows of the admin's tests."""

from __future__ import annotations

from typing import Any

import django_dbos as dbos

SCRIPT = "<script>alert(1)</script>"


@dbos.step
def fails() -> None:
    raise ValueError(SCRIPT)


@dbos.workflow
def busy(entries: int = 3) -> Any:
    """Write rows of every kind, then wait."""
    dbos.set_event("status", {"tagged": (1, 2), "html": SCRIPT})
    for number in range(entries):
        dbos.write_stream("progress", number)
    dbos.write_stream("log", SCRIPT)
    dbos.close_stream("log")
    try:
        fails()
    except ValueError:
        dbos.set_event("status", "caught")
    return dbos.recv("paid", timeout=None)


@dbos.step(max_attempts=3, interval=3_600)
def always_down() -> None:
    raise ConnectionError(SCRIPT)


@dbos.workflow
def retrying() -> None:
    always_down()


@dbos.workflow
def parent() -> Any:
    return busy()


@dbos.workflow
def quick(value: Any = None) -> Any:
    return value


@dbos.workflow
def failing() -> None:
    raise LookupError(SCRIPT)


@dbos.workflow
def continuing(number: int = 1) -> Any:
    """Continue as new twice."""
    quick(number)
    if number < 3:
        dbos.continue_as_new(number + 1)
    return number
