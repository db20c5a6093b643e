"""What deleted and rewound workflows have left on step databases goes for certain."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import models, transaction

import django_dbos as dbos
from django_dbos.core.records import Checkpoint as Record
from django_dbos.executor.duties.step_deletions import PAUSE, StepDeletions
from django_dbos.models import AtomicCheckpoint, StepDeletion, Workflow
from django_dbos.store import elsewhere, errors, get_store
from django_dbos.store.sessions import Session
from django_dbos.testing import run_until_idle
from tests.executors import Start
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """Stands for the death of the process."""


@dbos.step(atomic=True, using="other")
def counts(number: int) -> int:
    return number


@dbos.workflow(name="left.steps")
def takes_steps(steps: int = 1) -> list[int]:
    return [counts(number) for number in range(steps)]


@pytest.fixture
def session() -> Iterator[Session]:
    opened = get_store().connect("test", "test")
    yield opened
    opened.close()


@pytest.fixture
def duty() -> StepDeletions:
    return StepDeletions(get_store(), time.monotonic, ["other"])


def finished(steps: int = 1) -> dbos.WorkflowHandle[Any]:
    handle = takes_steps.start(steps)
    run_until_idle()
    assert handle.get_status() == "SUCCESS"
    return handle


def steps_left() -> int:
    return AtomicCheckpoint.objects.using("other").count()


def age() -> None:
    """Have the deletions be ordered years ago."""
    models.QuerySet(StepDeletion).update(requested_at=LONG_AGO)


def record_late(token: Any) -> None:
    """Commit a step as a run does whose workflow is no longer its own."""
    late = Record(workflow_id="", step_number=9, step_name="late", record_order=1, claim_number=1)
    assert elsewhere.record("other", token, late)


def fails(*args: Any) -> int:
    raise errors.Unavailable("gone")


def die_after_the_commit(monkeypatch: pytest.MonkeyPatch, change: Callable[[], Any]) -> None:
    def die(*args: Any) -> int:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(elsewhere, "delete", die)
        with pytest.raises(Killed):
            change()


@pytest.mark.rule(101)
@pytest.mark.parametrize("is_rewound", [False, True])
def test_the_process_dies_between_the_two_deletions(
    monkeypatch: pytest.MonkeyPatch, duty: StepDeletions, session: Session, is_rewound: bool
) -> None:
    handle = finished(2)
    die_after_the_commit(monkeypatch, lambda: handle.rewind(1) if is_rewound else handle.delete())
    assert steps_left() == 2
    if is_rewound:
        # The same workflow takes the steps again, under another token.
        run_until_idle()
        assert steps_left() == 4

    # A run of the old token may still be about to commit a step.
    assert duty.run(session) is None
    assert StepDeletion.objects.count() == 1

    age()
    assert duty.run(session) == PAUSE
    assert duty.run(session) is None
    assert not StepDeletion.objects.exists()
    assert steps_left() == (2 if is_rewound else 0)
    if is_rewound:
        token = Workflow.objects.get().token
        assert {row.token for row in AtomicCheckpoint.objects.using("other")} == {token}


@pytest.mark.rule(101)
def test_a_step_that_runs_now_is_safe_and_one_without_its_workflow_is_not(
    duty: StepDeletions, session: Session
) -> None:
    """One was committed by a run that had lost its claim, after the deletion elsewhere."""
    gone = finished()
    token = Workflow.objects.get().token
    gone.delete()
    assert steps_left() == 0
    record_late(token)
    runs = finished(3)
    # Of another project, whose workflows are in a database of its own.
    record_late("00000000-0000-4000-8000-000000000001")
    assert steps_left() == 5

    age()
    while duty.run(session) is not None:
        pass

    assert steps_left() == 4
    assert AtomicCheckpoint.objects.using("other").filter(token=Workflow.objects.get().token)
    assert runs.get_result() == [0, 1, 2]


@pytest.mark.rule(101)
def test_a_deletion_that_is_rolled_back_notes_nothing() -> None:
    handle = finished()
    with transaction.atomic():
        handle.delete()
        assert StepDeletion.objects.exists()
        transaction.set_rollback(True)

    assert not StepDeletion.objects.exists()
    assert steps_left() == 1


def test_many_go_in_batches(
    monkeypatch: pytest.MonkeyPatch, duty: StepDeletions, session: Session
) -> None:
    monkeypatch.setattr(elsewhere, "BATCH", 2)
    takes_steps.start_many([()] * 5)
    run_until_idle()
    with monkeypatch.context() as patch:
        patch.setattr(elsewhere, "delete", fails)
        assert all(Workflow.objects.all().delete_finished().values())
    assert StepDeletion.objects.count() == steps_left() == 5
    age()

    runs = 0
    while duty.run(session) is not None:
        runs += 1

    assert runs == 3
    assert steps_left() == 0


def test_a_step_database_that_is_away_keeps_the_note(
    monkeypatch: pytest.MonkeyPatch,
    duty: StepDeletions,
    session: Session,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handle = finished()
    with monkeypatch.context() as patch:
        patch.setattr(elsewhere, "delete", fails)
        handle.delete()
        age()
        caplog.clear()
        with caplog.at_level(logging.WARNING, "django_dbos"):
            assert duty.run(session) is None
    assert "couldn't be deleted on 'other'" in caplog.text
    assert StepDeletion.objects.count() == steps_left() == 1

    assert duty.run(session) == PAUSE
    assert StepDeletion.objects.count() == steps_left() == 0


def test_a_worker_does_it_also_without_retention(
    monkeypatch: pytest.MonkeyPatch, start_executor: Start
) -> None:
    handle = finished()
    die_after_the_commit(monkeypatch, handle.delete)
    age()

    start_executor()

    eventually(lambda: not StepDeletion.objects.exists())
    assert steps_left() == 0


def test_dbos_prune_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = finished(2)
    die_after_the_commit(monkeypatch, handle.delete)
    age()

    assert pruned("--dry-run")["steps_elsewhere"] == 0
    assert steps_left() == 2
    assert pruned()["steps_elsewhere"] == 2
    assert steps_left() == 0
    assert pruned()["steps_elsewhere"] == 0


def pruned(*options: str) -> dict[str, Any]:
    out = StringIO()
    call_command("dbos_prune", "--older-than=1d", "--format=json", *options, stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found
