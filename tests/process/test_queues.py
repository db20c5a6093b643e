"""Queues of real worker processes: declared at their start, changed from another process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from django_dbos import queues
from django_dbos.models import Queue, Workflow
from tests.executor import workflows
from tests.process import workflows as gated
from tests.process.conftest import Worker
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

Start = Callable[..., Worker]
DECLARED = json.dumps({"QUEUES": {"mail": {"concurrency": 1}, "slow": {"rate_limit": "5/s"}}})


@pytest.mark.rule(76)
def test_workers_declare_their_queues_and_follow_changes(
    start_worker: Start, tmp_path: Path
) -> None:
    start_worker("--processes", "2", DBOS_TEST_SETTINGS=DECLARED)
    eventually(
        lambda: Queue.objects.filter(name__in=("mail", "slow"), is_managed=True).count() == 2
    )
    gates = [Gate(tmp_path / f"gate-{number}") for number in range(3)]
    handles = [gated.passes.using(queue_name="mail").start(gate.path) for gate in gates]
    eventually(lambda: gates[0].is_reached)
    assert running() == 1

    queues.set("mail", concurrency=2)
    eventually(lambda: gates[1].is_reached)
    assert running() == 2

    queues.pause("mail")
    for gate in gates:
        gate.open()
    assert [handle.get_result(timeout=LIMIT) > 0 for handle in handles[:2]] == [True, True]
    workflows.counts.using(queue_name="other").start(1).get_result(timeout=LIMIT)
    assert handles[2].get_status() == "ENQUEUED"

    queues.resume("mail")
    assert handles[2].get_result(timeout=LIMIT) > 0


def running() -> int:
    return Workflow.objects.filter(queue_name="mail", status="PENDING").count()
