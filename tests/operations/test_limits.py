"""Limits on a workflow's records: a warning, then quarantine, which a higher limit ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Checkpoint, Event, Message, Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db

COUNT = 8
done: Counter[str] = Counter()


@dbos.step
def notes(name: str) -> None:
    done[name] += 1


@dbos.step
def sends_and_sets(target: str, number: int) -> None:
    dbos.send(target, number)
    dbos.set_event("progress", number)


@dbos.workflow
def target() -> None:
    return None


@dbos.workflow
def takes_steps(target: str) -> str:
    for number in range(COUNT):
        notes(f"step {number}")
    return "done"


@dbos.workflow
async def takes_steps_on_a_loop(target: str) -> str:
    for number in range(COUNT):
        await notes.acall(f"step {number}")
    return "done"


@dbos.workflow
def sends(target: str) -> str:
    for number in range(COUNT):
        dbos.send(target, number)
    return "done"


@dbos.workflow
async def sends_on_a_loop(target: str) -> str:
    for number in range(COUNT):
        await dbos.asend(target, number)
    return "done"


@dbos.workflow
def sends_in_steps(target: str) -> str:
    for number in range(COUNT):
        sends_and_sets(target, number)
    return "done"


@dbos.workflow
def sets(target: str) -> str:
    for number in range(COUNT):
        dbos.set_event("progress", number)
    return "done"


@dbos.workflow
async def sets_on_a_loop(target: str) -> str:
    for number in range(COUNT):
        await dbos.aset_event("progress", number)
    return "done"


def checkpoints(workflow_id: str) -> int:
    return Checkpoint.objects.filter(workflow_id=workflow_id).count()


def messages(workflow_id: str) -> int:
    return Message.objects.filter(sender_id=workflow_id).count()


def versions(workflow_id: str) -> int:
    return sum(Event.objects.filter(workflow_id=workflow_id).values_list("version", flat=True))


CASES: list[tuple[Any, str, Callable[[str], int]]] = [
    (takes_steps, "STEP_LIMITS", checkpoints),
    (takes_steps_on_a_loop, "STEP_LIMITS", checkpoints),
    (sends, "MESSAGE_LIMITS", messages),
    (sends_on_a_loop, "MESSAGE_LIMITS", messages),
    (sends_in_steps, "MESSAGE_LIMITS", messages),
    (sets, "EVENT_LIMITS", versions),
    (sets_on_a_loop, "EVENT_LIMITS", versions),
    (sends_in_steps, "EVENT_LIMITS", versions),
]


@pytest.mark.parametrize(("workflow", "setting", "count"), CASES)
def test_a_workflow_causes_a_warning_and_then_is_quarantined(
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    workflow: Any,
    setting: str,
    count: Callable[[str], int],
) -> None:
    done.clear()
    given = {**settings.DBOS}
    settings.DBOS = {**given, setting: (3, 5)}
    workflow_id = workflow.start(target.start().workflow_id).workflow_id
    run_until_idle()

    row = Workflow.objects.get(pk=workflow_id)
    assert row.is_quarantined
    assert isinstance(row.error, dbos.LimitReached)
    assert row.error.setting == setting
    assert setting in str(row.error)
    assert count(workflow_id) == 5
    warned = [record.getMessage() for record in caplog.records if setting in record.getMessage()]
    assert len([one for one in warned if "has 3 " in one]) == 1

    settings.DBOS = {**given, setting: (3, COUNT)}
    dbos.retrieve_workflow(workflow_id).resume()
    run_until_idle()

    assert dbos.retrieve_workflow(workflow_id).get_result() == "done"
    assert count(workflow_id) >= COUNT
    assert set(done.values()) <= {1}


@pytest.mark.parametrize(("workflow", "setting", "count"), CASES)
@pytest.mark.parametrize("limits", [None, (COUNT, COUNT), (100, 200)])
def test_up_to_the_limit_nothing_happens(
    settings: Any, workflow: Any, setting: str, count: Callable[[str], int], limits: Any
) -> None:
    settings.DBOS = {**settings.DBOS, setting: limits}
    handle = workflow.start(target.start().workflow_id)
    run_until_idle()

    assert handle.get_result() == "done"
    assert count(handle.workflow_id) == COUNT


@pytest.mark.parametrize("limits", [5, (5,), (5, 3), (0, 3), ("a", "b"), (True, 3)])
def test_a_limit_must_be_a_valid_pair(settings: Any, limits: Any) -> None:
    settings.DBOS = {"STEP_LIMITS": limits}

    with pytest.raises(Exception, match="STEP_LIMITS"):
        dbos.retrieve_workflow("x").get_status()
