"""Log records of runs: their levels, and the absence of secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.executor.notifier import Notifier
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import advance, run_until_idle
from tests.waiting import LIMIT, eventually

SECRET = "4242-4242"


@dbos.step
def charge(card: str) -> str:
    if card == "changed":
        return card
    raise LookupError("declined")


@dbos.workflow
def pays(card: str) -> str:
    return charge(card)


@dbos.workflow
async def apays(card: str) -> str:
    return await charge.acall(card)


@dbos.workflow
def waits() -> Any:
    return dbos.recv(timeout=None)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[logging.LogRecord]]:
    """Return the records about a workflow in order."""
    caplog.set_level("INFO", "django_dbos")

    def of(workflow_id: str) -> list[logging.LogRecord]:
        return [one for one in caplog.records if getattr(one, "workflow_id", None) == workflow_id]

    return of


def test_a_failure_is_an_error_with_its_traceback(db: None, lines: Any) -> None:
    handle = pays.start(SECRET)
    run_until_idle()

    began, failed = lines(handle.workflow_id)

    assert began.levelno == logging.INFO
    assert failed.levelno == logging.ERROR
    assert failed.name == "django_dbos.executor"
    assert failed.workflow_name == pays.name
    assert failed.getMessage().startswith(
        f"Workflow {handle.workflow_id!r} ({pays.name}) failed after "
    )
    assert failed.getMessage().endswith(": LookupError('declined')")
    text = logging.Formatter().format(failed)
    assert "in charge" in text
    assert SECRET not in text


@pytest.mark.parametrize("workflow", [pays, apays])
@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_a_worker_logs_failures_at_every_level(
    workflow: Any, level: str, worker: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    """Under load the log level is raised, which used to suppress failures too."""
    caplog.set_level(level, "django_dbos")

    workflow.start(SECRET)

    eventually(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
    (failed,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failed.exc_info is not None
    assert isinstance(failed.exc_info[1], LookupError)


def test_success_and_waiting_are_logged_as_info(db: None, lines: Any) -> None:
    done, waiting = pays.start("changed"), waits.start()
    run_until_idle()

    for handle in (done, waiting):
        assert [one.levelno for one in lines(handle.workflow_id)] == [logging.INFO] * 2


def test_newlines_in_ids_and_errors_begin_no_line(db: None, lines: Any) -> None:
    @dbos.workflow
    def fails() -> None:
        raise ValueError("bad\nCRITICAL all is lost")

    handle = fails.using(workflow_id="x\nCRITICAL forged").start()
    run_until_idle()

    assert all("\n" not in one.getMessage() for one in lines(handle.workflow_id))


def test_a_quarantine_is_logged_as_an_error(db: None, lines: Any) -> None:
    @dbos.workflow
    def changes() -> Any:
        charge("changed")
        return dbos.recv(timeout=None)

    handle = changes.start()
    run_until_idle()
    QuerySet(Checkpoint).filter(workflow_id=handle.workflow_id, step_number=1).update(
        step_name="another"
    )
    handle.send("go on")
    run_until_idle()

    *_, last = lines(handle.workflow_id)
    assert last.levelno == logging.ERROR
    assert "is quarantined; fix the cause and resume it, after" in last.getMessage()
    assert "NondeterminismError" in last.getMessage()


def test_a_deadline_is_logged_as_a_warning_and_a_cancel_is_not(
    worker: Executor, caplog: pytest.LogCaptureFixture, lines: Any
) -> None:
    @dbos.workflow
    async def hangs() -> None:
        while True:
            await dbos.asleep(0.01)

    late, cancelled = hangs.using(timeout=0.2).start(), hangs.start()
    eventually(lambda: bool(Checkpoint.objects.filter(workflow_id=cancelled.workflow_id)))
    cancelled.cancel()

    def told(handle: dbos.WorkflowHandle[None]) -> set[int]:
        return {one.levelno for one in lines(handle.workflow_id)}

    def is_said(handle: dbos.WorkflowHandle[None], what: str) -> bool:
        return any(what in one.getMessage() for one in lines(handle.workflow_id))

    eventually(lambda: is_said(late, "its deadline passed"))
    assert told(late) == {logging.INFO, logging.WARNING}
    eventually(lambda: is_said(cancelled, "CANCELLED") or is_said(cancelled, "WAITING"))
    assert told(cancelled) == {logging.INFO}


def test_a_deadline_that_passes_during_a_wait_is_logged_too(worker: Executor, lines: Any) -> None:
    handle = waits.using(timeout=3_600).start()
    eventually(lambda: handle.get_status() == Workflow.Status.WAITING)
    # The end of a run is logged after its commit.
    eventually(lambda: len(lines(handle.workflow_id)) >= 2)

    advance(3_601)

    eventually(lambda: lines(handle.workflow_id)[-1].levelno == logging.WARNING)
    assert "its deadline passed" in lines(handle.workflow_id)[-1].getMessage()


@dbos.step(max_attempts=3, interval=0)
def flaky(card: str, failures: int) -> None:
    if _attempt() <= failures:
        raise ConnectionError("gone\nfor now")


@dbos.step(max_attempts=3, interval=0)
async def aflaky(card: str, failures: int) -> None:
    if _attempt() <= failures:
        raise ConnectionError("gone\nfor now")


@dbos.step(max_attempts=3, interval=0, atomic=True)
def atomically_flaky(card: str, failures: int) -> None:
    if _attempt() <= failures:
        raise ConnectionError("gone\nfor now")


def _attempt() -> int:
    current = dbos.current_workflow()
    assert current is not None
    return current.attempt


@dbos.workflow
def uses_flaky(card: str, failures: int) -> None:
    flaky(card, failures)


@dbos.workflow
async def auses_flaky(card: str, failures: int) -> None:
    await aflaky(card, failures)


@dbos.workflow
def uses_atomically_flaky(card: str, failures: int) -> None:
    atomically_flaky(card, failures)


@pytest.mark.parametrize("workflow", [uses_flaky, auses_flaky, uses_atomically_flaky])
def test_a_repeated_attempt_is_logged_as_a_warning(workflow: Any, db: None, lines: Any) -> None:
    handle = workflow.start(SECRET, 2)
    run_until_idle()

    told = [one for one in lines(handle.workflow_id) if one.levelno == logging.WARNING]

    assert [one.attempt for one in told] == [1, 2]
    assert {(one.workflow_name, one.step_number) for one in told} == {(workflow.name, 1)}
    said = told[0].getMessage()
    assert f"of workflow {handle.workflow_id!r} ({workflow.name}) failed in attempt 1 of 3" in said
    assert "ConnectionError" in said
    assert "\n" not in said
    assert SECRET not in said
    assert [one.levelno for one in lines(handle.workflow_id)][-1] == logging.INFO


def test_the_failure_of_the_last_attempt_is_logged_by_its_workflow(db: None, lines: Any) -> None:
    handle = uses_flaky.start(SECRET, 3)
    run_until_idle()

    levels = [one.levelno for one in lines(handle.workflow_id)]

    assert levels == [logging.INFO, logging.WARNING, logging.WARNING, logging.ERROR]


def test_a_failure_just_before_the_worker_stops_is_logged(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, lines: Any
) -> None:
    """`dbos_worker --once` used to end without a record of its last workflow."""
    # The worker is stopped before it does anything else.
    monkeypatch.setattr(Notifier, "tick", lambda self: None)
    with Executor():
        handle = pays.start(SECRET)
        with pytest.raises(LookupError):
            handle.get_result(timeout=LIMIT)

    assert lines(handle.workflow_id)[-1].levelno == logging.ERROR
