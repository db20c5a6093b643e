"""Deletion of a workflow for which others wait: they go on at once, with an error."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.store.conftest import register
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@dbos.workflow
def ends() -> None:
    """End without an event."""


@dbos.workflow
def waits_for(kind: str, other: str) -> Any:
    match kind:
        case "event":
            return dbos.get_event(other, "key", timeout=None)
        case "result":
            return dbos.WorkflowHandle[Any](other).get_result()
    return dbos.wait_any(dbos.event(other, "key"), dbos.message("topic")).name


def target_and_waiter(kind: str) -> tuple[dbos.WorkflowHandle[Any], dbos.WorkflowHandle[Any]]:
    """Return a workflow that has ended, and one that waits for it all the same."""
    target = ends.using(workflow_id="target").start()
    if kind == "result":
        # Of one that is quarantined the result may still come.
        waiter = waits_for.start(kind, "target")
        QuerySet(Workflow).filter(pk="target").update(status="ERROR", is_quarantined=True)
    else:
        run_until_idle()
        waiter = waits_for.start(kind, "target")
    run_until_idle()
    assert waiter.get_status() == "WAITING"
    return target, waiter


def prune() -> None:
    QuerySet(Workflow).filter(pk="target").update(is_quarantined=False)
    call_command("dbos_prune", "--keep=1", f"--name={ends.name}")


@pytest.mark.rule(107)
@pytest.mark.parametrize("kind", ["event", "result"])
@pytest.mark.parametrize("by", ["handle", "set"])
def test_a_deletion_wakes_those_that_wait(kind: str, by: str) -> None:
    target, waiter = target_and_waiter(kind)

    if by == "handle":
        target.delete()
    else:
        assert Workflow.objects.filter(pk="target").delete_finished() == {"target": True}

    # Nothing has looked for it: no worker runs.
    assert waiter.get_status() == "ENQUEUED"
    run_until_idle()
    with pytest.raises(dbos.WorkflowDoesNotExist):
        waiter.get_result(timeout=LIMIT)


@pytest.mark.rule(107)
def test_retention_wakes_those_that_wait() -> None:
    _, waiter = target_and_waiter("event")
    # The newest one stays.
    ends.start()
    run_until_idle()

    prune()

    assert not Workflow.objects.filter(pk="target").exists()
    assert waiter.get_status() == "ENQUEUED"


@pytest.mark.rule(107)
def test_a_deletion_that_is_undone_wakes_nobody() -> None:
    target, waiter = target_and_waiter("event")

    with transaction.atomic():
        target.delete()
        transaction.set_rollback(True)

    assert waiter.get_status() == "WAITING"


@pytest.mark.rule(107)
def test_of_several_things_the_others_are_still_awaited() -> None:
    target, waiter = target_and_waiter("any")

    target.delete()
    store = get_store()
    store.wake_satisfied(store.session())

    assert waiter.get_status() == "WAITING"
    waiter.send("m", "topic")
    run_until_idle()
    assert waiter.get_result(timeout=LIMIT) == 1


@pytest.mark.rule(107)
@pytest.mark.rule(16)
@pytest.mark.parametrize("kind", ["event", "result"])
def test_a_sweep_finds_a_deletion_whose_process_died(kind: str) -> None:
    _, waiter = target_and_waiter(kind)
    # As a process leaves it that dies after its commit.
    QuerySet(Workflow).filter(pk="target").delete()
    assert waiter.get_status() == "WAITING"
    store = get_store()
    executor_id = register(store)

    # As for a sweep, which knows no marks of the last heartbeat.
    assert store.heartbeat(store.session(), executor_id, None).has_lost_wakeup
    assert store.wake_satisfied(store.session())

    assert waiter.get_status() == "ENQUEUED"
    assert store.wake_satisfied(store.session()) == []


@pytest.mark.rule(107)
@pytest.mark.parametrize("kind", ["event", "result"])
def test_a_wait_that_is_suspended_during_a_deletion_ends(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion comes after the look that found the workflow, and before the suspension."""
    ends.using(workflow_id="target").start()
    run_until_idle()
    QuerySet(Workflow).filter(pk="target").update(status="ERROR", is_quarantined=True)
    waiter = waits_for.start(kind, "target")
    suspend = type(get_store()).announce_plans
    states: list[str] = []

    def deletes_first(self: Any, session: Any, plans: Any) -> None:
        if any(plan.suspended for plan in plans) and not states:
            states.append(waiter.get_status())
            QuerySet(Workflow).filter(pk="target").delete()
        suspend(self, session, plans)

    monkeypatch.setattr(type(get_store()), "announce_plans", deletes_first)
    run_until_idle()

    assert states == ["WAITING"]
    with pytest.raises(dbos.WorkflowDoesNotExist):
        waiter.get_result(timeout=LIMIT)
