"""Workers with different code side by side: a deploy over workflows that run."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from django_dbos.models import Checkpoint, Workflow
from tests.process import versioned
from tests.process.conftest import Worker
from tests.process.workflows import Gate
from tests.waiting import LIMIT, eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.process]

# Only the lock shows that a process is dead.
LOCKS_ONLY = json.dumps({"LEASE": 3600})


@pytest.mark.rule(98)
def test_each_workflow_ends_with_its_version_through_a_deploy_and_a_death(
    start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    gates = [Gate(tmp_path / f"gate-{number}") for number in range(6)]
    old = [versioned.older.start(number, gate.path) for number, gate in enumerate(gates[:3])]
    new = [versioned.ship.start(number, gate.path) for number, gate in enumerate(gates[3:])]
    first = start_worker(DBOS_TEST_DEPLOYED="1", DBOS_TEST_SETTINGS=LOCKS_ONLY)
    second = start_worker(DBOS_TEST_DEPLOYED="2", DBOS_TEST_SETTINGS=LOCKS_ONLY)
    eventually(lambda: all(gate.is_reached for gate in gates))

    first.send(signal.SIGKILL)
    first.wait()
    for gate in gates:
        gate.open()
    # The worker with the new code recovers the others, and leaves them to one that has theirs.
    results = [handle.get_result(timeout=LIMIT) for handle in new]
    eventually(lambda: _waiting() == {handle.workflow_id for handle in old})
    second.wait_for("version '1' of its function 'tests.ship' isn't known here")
    assert not second.has_ended
    start_worker(DBOS_TEST_DEPLOYED="2, and 1", DBOS_TEST_SETTINGS=LOCKS_ONLY)

    assert results == [f"{number} weighed by two" for number in range(3)]
    assert [handle.get_result(timeout=LIMIT) for handle in old] == [
        f"{number} packed by one" for number in range(3)
    ]
    assert dict(Workflow.objects.values_list("workflow_id", "version")) == {
        **{handle.workflow_id: "1" for handle in old},
        **{handle.workflow_id: "2" for handle in new},
    }
    assert Checkpoint.objects.count() == 3 * 3 + 3 * 4


def _waiting() -> set[str]:
    return set(Workflow.objects.filter(status="ENQUEUED").values_list("workflow_id", flat=True))
