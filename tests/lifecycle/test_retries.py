"""Retries: failed workflows again from the steps that failed."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.core.failures import Failure, failed_step
from django_dbos.core.records import State
from django_dbos.exceptions import ChangeRefused
from django_dbos.models import Workflow
from django_dbos.testing import advance, run_until_idle
from tests.lifecycle.workflows import broken, child, done, fails, latest, maps, parent, works

pytestmark = pytest.mark.django_db


def test_the_failed_step_runs_again_with_all_that_followed() -> None:
    broken.add("b")
    handle = fails.start()
    run_until_idle()
    assert latest(handle.workflow_id) == {"failed": "b is broken"}
    broken.clear()

    handle.retry()
    assert latest(handle.workflow_id) == {}
    assert [step.step_number for step in handle.steps()] == [1]
    run_until_idle()

    assert handle.get_result() == "done"
    assert done == {"a": 1, "b": 2, "c": 1}
    assert len(list(handle.read_stream("log"))) == 3


def test_a_handled_failure_stays() -> None:
    broken.update(("b", "body"))
    handle = fails.start(handles=True)
    run_until_idle()
    assert handle.get_status() == "ERROR"
    broken.clear()

    handle.retry()
    run_until_idle()

    assert handle.get_result() == "done"
    assert done == {"a": 1, "b": 1, "c": 1}


def test_a_wait_that_timed_out_waits_again() -> None:
    handle = waits.start()
    run_until_idle()
    advance(10)
    run_until_idle()
    assert handle.get_status() == "ERROR"

    handle.retry()
    run_until_idle()
    assert handle.get_status() == "WAITING"
    handle.send("at last")
    run_until_idle()

    assert handle.get_result() == "at last"
    assert done == {"a": 1}


@dbos.workflow
def waits() -> Any:
    works("a")
    return dbos.recv(timeout=5)


@pytest.mark.parametrize("workflow", [parent, maps])
def test_a_parent_is_retried_after_its_child(workflow: Any) -> None:
    broken.update(("x", "child0"))
    handle = workflow.start("x" if workflow is parent else 1)
    run_until_idle()
    assert handle.get_status() == "ERROR"
    broken.clear()
    failed = Workflow.objects.get(parent_id=handle.workflow_id)

    with pytest.raises(ChangeRefused, match=f"waits for workflow '{failed.workflow_id}'"):
        handle.retry()
    failed.handle.retry()
    run_until_idle()
    handle.retry()
    run_until_idle()

    assert handle.get_status() == "SUCCESS"
    assert done["before"] == 1


def test_a_workflow_that_was_given_up_is_resumed() -> None:
    handle = fails.start()
    run_until_idle(max_runs=1)
    assert handle.get_status() == "SUCCESS"
    with pytest.raises(ChangeRefused, match="hasn't failed: its status is SUCCESS"):
        handle.retry()

    given_up = child.start("x")
    with_status(given_up.workflow_id, "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
    given_up.retry()
    run_until_idle()
    assert given_up.get_result() == "x"


def with_status(workflow_id: str, status: str) -> None:
    rows: Any = QuerySet(Workflow)
    rows.filter(pk=workflow_id).update(status=status)


def test_cancelled_and_active_workflows_are_refused() -> None:
    handle = child.start("x")
    with pytest.raises(ChangeRefused, match="its status is ENQUEUED"):
        handle.retry()
    handle.cancel()
    with pytest.raises(ChangeRefused, match=r"was cancelled, .* resume\(\) continues it"):
        handle.retry()

    assert handle.get_status() == "CANCELLED"


def test_a_set_of_workflows_is_retried() -> None:
    broken.add("b")
    handles = [fails.start() for _ in range(3)]
    run_until_idle()
    broken.clear()
    healthy = child.start("x")
    run_until_idle()

    answers = Workflow.objects.all().retry()

    assert answers == {**{one.workflow_id: True for one in handles}, healthy.workflow_id: False}
    run_until_idle()
    assert dbos.get_results(handles) == ["done"] * 3


# The failed step

HERE = ("shop.errors.Declined", "no funds")


def failure(number: int, order: int, **values: Any) -> Failure:
    values = {"state": State.RECORDED, "error": HERE, **values}
    return Failure(step_number=number, record_order=order, **values)


def test_the_step_whose_error_ended_the_workflow_is_the_last_of_its_kind() -> None:
    failures = [failure(2, 2), failure(4, 5), failure(7, 4, error=("builtins.OSError", ""))]

    assert failed_step(failures, last_record_order=9, ending=HERE) == 4
    assert failed_step(failures, last_record_order=9, ending=("x.Other", "no")) is None
    assert failed_step(failures, last_record_order=5, ending=("x.Other", "no")) == 4
    assert failed_step([], last_record_order=0, ending=None) is None


def test_a_cause_is_found_in_the_traceback() -> None:
    failures = [failure(2, 2), failure(3, 3, error=("builtins.OSError", "down"))]
    traceback = "shop.errors.Declined: no funds\n\nThe above exception was…\nx.Other: no"

    def found(text: str) -> int | None:
        return failed_step(failures, last_record_order=9, ending=("x.Other", "no"), traceback=text)

    assert found(traceback) == 2
    assert found("OSError: down\n") == 3


def test_a_wait_is_found_by_the_error_that_it_raises() -> None:
    failures = [failure(2, 2, state=State.TIMED_OUT, error=None)]
    ending = ("django_dbos.exceptions.WaitTimeout", "No message has come.")

    assert failed_step(failures, last_record_order=9, ending=ending) == 2
    assert failed_step(failures, last_record_order=9, ending=HERE) is None
