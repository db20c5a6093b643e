"""When the audit looks for claims that lack their places, by a clock of the tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from django_dbos.executor import audit
from django_dbos.executor.audit import Audit
from django_dbos.executor.runs import Runs
from django_dbos.store.records import Held


class FakeRuns(dict[str, Any]):
    """Runs by their ids, beside a store that counts the looks."""

    executor_id = "executor"

    def __init__(self) -> None:
        self.looks = self.lists = 0
        self.store = self

    def give_places(self, session: object, executor_id: str) -> bool:
        self.looks += 1
        return True

    def list_held(self, session: object, executor_id: str) -> Held:
        self.lists += 1
        claims = {run.workflow_id: run.claim.claim_number for run in self.values()}
        return Held(claims=claims, lingering={}, places={})

    def free_places(self, *args: object) -> tuple[int, list[object]]:
        return 0, []

    def begin(self, workflow_id: str) -> None:
        claim = SimpleNamespace(claim_number=1)
        run = SimpleNamespace(
            workflow_id=workflow_id, claim=claim, last_doubt=0, settle=lambda doubt: None
        )
        self[workflow_id] = run

    def __iter__(self) -> Any:
        return iter(self.values())


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def runs() -> FakeRuns:
    return FakeRuns()


@pytest.fixture
def changed(runs: FakeRuns, time: Time) -> Audit:
    """An audit that has heard of a change of a queue while a workflow ran."""
    made = Audit(cast(Runs, runs), time, cast(Any, lambda: None), lambda lanes: None)
    runs.begin("first")
    made.request_soon()
    made.run_if_due()
    assert runs.looks == 1
    return made


def pass_time(made: Audit, time: Time, seconds: float) -> None:
    """Call the audit when it wants to be called, for some seconds."""
    until = time.now + seconds
    while made.pause is not None and time.now + made.pause <= until:
        time.now += made.pause
        made.run_if_due()
    time.now = until


def test_places_are_looked_for_while_something_runs(
    changed: Audit, runs: FakeRuns, time: Time
) -> None:
    pass_time(changed, time, audit.PLACES_FOR)

    assert runs.looks == 1 + audit.PLACES_FOR / audit.PLACES_PAUSE


def test_at_rest_nothing_is_asked(changed: Audit, runs: FakeRuns, time: Time) -> None:
    runs.clear()
    asked = runs.looks, runs.lists

    pass_time(changed, time, audit.PLACES_FOR)

    assert (runs.looks, runs.lists) == asked


@pytest.mark.rule(75)
def test_a_run_that_begins_after_a_rest_gets_its_place(
    changed: Audit, runs: FakeRuns, time: Time
) -> None:
    """Its claim was under way at the change, and its history took long to load."""
    runs.clear()
    pass_time(changed, time, audit.PLACES_FOR / 2)
    runs.begin("second")
    looks = runs.looks

    pass_time(changed, time, audit.PLACES_PAUSE)

    assert runs.looks == looks + 1


def test_a_minute_later_nothing_is_looked_for(changed: Audit, runs: FakeRuns, time: Time) -> None:
    pass_time(changed, time, audit.PLACES_FOR * 2)

    assert changed.pause is None
