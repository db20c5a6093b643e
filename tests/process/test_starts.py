"""Starts of several processes: due times, bursts and replacements, with workers that are killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Workflow
from tests.flow.concurrency import together
from tests.flow.workflows import notes, starts
from tests.process.conftest import Worker
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

Start = Callable[..., Worker]
HOUR = 3_600
# Heartbeats that would tell nobody in time.
SELDOM = json.dumps({"HEARTBEAT_INTERVAL": HOUR, "LEASE": 10 * HOUR})
IMPATIENT = json.dumps({"LEASE": 4, "HEARTBEAT_INTERVAL": 0.3})


def test_another_process_learns_of_due_times_at_once(start_worker: Start, settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, **json.loads(SELDOM)}
    start_worker(DBOS_TEST_SETTINGS=SELDOM)

    assert notes.using(run_after=0.2).start(1).get_result(timeout=LIMIT) == 1
    handle = notes.using(run_after=HOUR).start(2)
    assert handle.set_run_after(0.1)
    assert handle.get_result(timeout=LIMIT) == 2
    burst = notes.using(debounce_key="k", delay=0.2)
    assert burst.start(3) == (last := burst.start(4))
    assert last.get_result(timeout=LIMIT) == 4
    # A delayed child, of another process's run.
    child = starts.start({"run_after": 0.2}, 5).get_result(timeout=LIMIT)
    assert dbos.WorkflowHandle[Any](child).get_result(timeout=LIMIT) == 5


@pytest.mark.rule(64)
def test_a_burst_of_workers_and_callers_is_one_run(start_worker: Start) -> None:
    workers = [start_worker(DBOS_TEST_SETTINGS=IMPATIENT) for _ in range(2)]
    burst = dbos.StartOptions(debounce_key="k", delay=HOUR)

    def start(number: int) -> dbos.WorkflowHandle[Any]:
        if number % 2:
            return notes.using(**burst).start(number)
        return starts.start(burst, number)

    handles = together(12, start)
    eventually(lambda: Workflow.objects.filter(name=notes.name).exists())
    workers[0].send(signal.SIGKILL)

    called = {handle.workflow_id for handle in handles[1::2]}
    started = {handle.get_result(timeout=LIMIT) for handle in handles[::2]}
    assert len(called | started) == 1
    (row,) = Workflow.objects.filter(name=notes.name)
    assert row.status == "DELAYED"
    assert row.handle.run_now()
    assert row.handle.get_result(timeout=LIMIT) in range(12)


@pytest.mark.rule(62)
def test_children_that_replace_one_another_are_each_started_once(start_worker: Start) -> None:
    workers = [start_worker(DBOS_TEST_SETTINGS=IMPATIENT) for _ in range(2)]
    latest = dbos.StartOptions(deduplication_id="d", on_duplicate="replace", run_after=HOUR)

    parents = [starts.start(latest, number) for number in range(20)]
    eventually(lambda: Workflow.objects.filter(name=notes.name).exists())
    workers[0].send(signal.SIGKILL)

    children = [parent.get_result(timeout=LIMIT) for parent in parents]
    rows = Workflow.objects.filter(name=notes.name)
    assert sorted(children) == sorted(rows.values_list("workflow_id", flat=True))
    assert len(set(children)) == 20
    statuses = sorted(rows.values_list("status", flat=True))
    assert statuses == ["CANCELLED"] * 19 + ["DELAYED"]
