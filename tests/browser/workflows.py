"""A workflow that writes what a test tells it to."""

from __future__ import annotations

import itertools
from typing import Any

import django_dbos as dbos


@dbos.workflow
def narrate() -> None:
    """Write each received value under its key, as an event or to a stream, until None comes."""
    while (told := dbos.recv(timeout=None)) is not None:
        kind, key, value = told
        if kind == "event":
            dbos.set_event(key, value)
        else:
            dbos.write_stream(key, value)


@dbos.workflow
def count(last: int) -> None:
    """Write numbers to a stream, and the progress as an event."""
    for number in range(last):
        dbos.write_stream("numbers", number)
        tick()
        dbos.set_event("progress", {"done": number + 1, "total": last})
    dbos.close_stream("numbers")


@dbos.step
def tick() -> None:
    """Give a test the time to break something in between."""
    dbos.logger.info("tick")


@dbos.workflow
def draft() -> None:
    """Write what differs each time that the first step runs."""
    name = name_draft()
    for number in range(3):
        dbos.write_stream("k", f"{name}.{number}")
    dbos.set_event("k", name)
    dbos.recv(timeout=None)


@dbos.step
def name_draft() -> str:
    return f"draft {next(DRAFTS)}"


DRAFTS = itertools.count()


class Narrator:
    """A narrating workflow, and what a test has it write."""

    def __init__(self, **options: Any) -> None:
        self.workflow_id = narrate.using(**options).start().workflow_id

    def write(self, key: str, *values: Any) -> None:
        dbos.send_many([self._told("stream", key, value) for value in values])

    def set(self, key: str, *values: Any) -> None:
        dbos.send_many([self._told("event", key, value) for value in values])

    def end(self) -> None:
        dbos.send(self.workflow_id, None)

    def _told(self, *told: Any) -> Any:
        return {"workflow_id": self.workflow_id, "message": list(told)}
