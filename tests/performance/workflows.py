"""Workflows with known costs."""

from __future__ import annotations

import threading
import time
from typing import Any

import django_dbos as dbos
from tests.waiting import LIMIT

everybody = threading.Barrier(100)
may_go_on = threading.Event()

ended: list[str] = []
"""Workflows that have reached the end of their function, noted without queries."""


@dbos.step
def one() -> int:
    return 1


@dbos.workflow
def nothing() -> None:
    ended.append("nothing")


@dbos.workflow
def steps(count: int) -> None:
    for _ in range(count):
        one()
    ended.append("steps")


@dbos.workflow
def continues(is_first: bool = True) -> None:
    ended.append("continues")
    if is_first:
        dbos.continue_as_new(is_first=False)


@dbos.step(max_attempts=3, interval=0)
def third_time_lucky() -> None:
    current = dbos.current_workflow()
    assert current is not None
    if current.attempt < 3:
        raise ConnectionError


@dbos.workflow
def retries() -> None:
    third_time_lucky()
    ended.append("retries")


@dbos.step(confirm=True)
def confirmed() -> None:
    """Do nothing."""


@dbos.workflow
def confirms() -> None:
    confirmed()
    ended.append("confirms")


@dbos.workflow
def receives() -> Any:
    message = dbos.recv(timeout=None)
    ended.append("receives")
    return message


@dbos.workflow
def receives_any() -> Any:
    name, _ = dbos.wait_any(a=dbos.message("a"), b=dbos.message("b"), timeout=600)
    ended.append(name)


@dbos.workflow
def gets_results(workflow_ids: list[str]) -> int:
    handles: list[dbos.WorkflowHandle[Any]] = [dbos.WorkflowHandle(one) for one in workflow_ids]
    ended.append(len(dbos.get_results(handles)))
    return len(workflow_ids)


@dbos.workflow
def sends(workflow_id: str) -> None:
    dbos.send(workflow_id, "message")
    ended.append("sends")


@dbos.workflow
def sets_event() -> None:
    dbos.set_event("key", "value")
    ended.append("sets_event")


@dbos.workflow
def gets_event(workflow_id: str) -> None:
    dbos.get_event(workflow_id, "key", timeout=None)
    ended.append("gets_event")


@dbos.workflow
def writes(count: int) -> None:
    for number in range(count):
        dbos.write_stream("key", number)
    dbos.close_stream("key")
    ended.append("writes")


@dbos.step
def rests() -> None:
    time.sleep(0.1)


@dbos.workflow
def writes_and_rests(count: int) -> None:
    for number in range(count):
        dbos.write_stream("key", number)
    rests()
    ended.append("writes_and_rests")


@dbos.step
def wait_until_told() -> None:
    may_go_on.wait(LIMIT)


@dbos.workflow
def has_child() -> None:
    wait_until_told()
    nothing()
    ended.append("has_child")


@dbos.workflow
def goes_on(count: int) -> None:
    """Run steps, wait, and run another step."""
    for _ in range(count):
        one()
    dbos.recv(timeout=None)
    one()
    ended.append("goes_on")


@dbos.step
def meet() -> None:
    everybody.wait(LIMIT)


@dbos.workflow
def meets() -> None:
    """Return when a hundred of these steps are running."""
    meet()
    ended.append("meets")


@dbos.workflow
def holds_then_receives() -> None:
    wait_until_told()
    dbos.recv(timeout=None)
    ended.append("holds_then_receives")
