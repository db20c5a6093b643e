"""Workflows that the tests read over HTTP."""

from __future__ import annotations

import time
from typing import Any

import django_dbos as dbos


@dbos.workflow
def counts(last: int, pause: float = 0.0) -> None:
    for number in range(last):
        dbos.write_stream("s", number)
        time.sleep(pause)
    dbos.set_event("done", last)
    dbos.close_stream("s")


@dbos.workflow
def echoes() -> None:
    while (value := dbos.recv(timeout=None)) is not None:
        dbos.write_stream("s", value)
        dbos.set_event("last", value)


@dbos.workflow
def sets(values: dict[str, Any]) -> None:
    more: Any = values
    while more is not None:
        for key, value in more.items():
            dbos.set_event(key, value)
        more = dbos.recv(timeout=None)
