"""Events: the latest value wins, every version is kept, and a replay reads the same values."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

import django_dbos as dbos
from django_dbos.models import Event, EventVersion
from django_dbos.testing import advance, run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow
def publish(values: list[Any]) -> None:
    for value in values:
        dbos.set_event("status", value)
    dbos.sleep(60)


@dbos.workflow
async def apublish(values: list[Any]) -> None:
    for value in values:
        await dbos.aset_event("status", value)
    await dbos.asleep(60)


@dbos.workflow
def watch(workflow_id: str) -> list[Any]:
    first = dbos.get_event(workflow_id, "status")
    dbos.sleep(600)
    return [first, dbos.get_event(workflow_id, "status", timeout=1, default="none")]


@pytest.mark.parametrize("workflow", [publish, apublish])
def test_every_version_is_kept_exactly_once(workflow: Any, run_through_crashes: Any) -> None:
    def check(handle: Any) -> None:
        versions = EventVersion.objects.filter(workflow_id=handle.workflow_id)
        found = list(versions.order_by("version").values_list("version", "value_text"))
        assert found == [(1, '"a"'), (2, '"b"'), (3, '"b"')]
        assert Event.objects.get(workflow_id=handle.workflow_id).version == 3

    run_through_crashes(lambda: workflow.start(["a", "b", "b"]), check)


def test_the_latest_value_is_read() -> None:
    handle = publish.start([1, 2, None])
    run_until_idle()

    assert dbos.get_event(handle.workflow_id, "status") is None
    assert dbos.get_all_events(handle.workflow_id) == {"status": None}
    assert handle.events() == {"status": None}


@pytest.mark.rule(24)
def test_a_replay_reads_the_recorded_value() -> None:
    published = publish.start(["old"])
    handle = watch.start(published.workflow_id)
    run_until_idle()

    republish(published.workflow_id, "new")
    advance(601)
    run_until_idle()

    assert handle.get_result() == ["old", "new"]


def republish(workflow_id: str, value: str) -> None:
    """Set the event of a workflow again, on its behalf."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE dbos_event SET value = %s WHERE workflow_id = %s", [f'"{value}"', workflow_id]
        )


def test_a_waiting_workflow_wakes_when_the_event_is_set() -> None:
    later = publish.using(run_after=60).start(["there"])

    @dbos.workflow
    def waits() -> Any:
        return dbos.get_event(later.workflow_id, "status", timeout=900)

    handle = waits.start()
    run_until_idle()
    assert handle.get_status() == "WAITING"
    advance(61)
    run_until_idle()

    assert handle.get_result() == "there"


def test_a_timeout_raises_or_returns_the_default() -> None:
    handle = publish.start([])

    assert dbos.get_event(handle.workflow_id, "x", timeout=0, default="none") == "none"
    with pytest.raises(dbos.WaitTimeout, match="event 'x'"):
        dbos.get_event(handle.workflow_id, "x", timeout=0)


def test_a_wait_that_cannot_end_in_a_test_raises_at_once() -> None:
    handle = publish.start([])

    with pytest.raises(dbos.WaitInTest, match="run_until_idle"):
        dbos.get_event(handle.workflow_id, "x")


def test_an_event_of_a_missing_workflow_is_an_error() -> None:
    with pytest.raises(dbos.WorkflowDoesNotExist):
        dbos.get_event("nobody", "x", timeout=0)
    with pytest.raises(dbos.WorkflowDoesNotExist):
        dbos.get_all_events("nobody")


@pytest.mark.rule(25)
def test_an_event_set_by_a_step_stays_when_the_step_is_retried() -> None:
    tries: list[int] = []

    @dbos.step(max_attempts=2, interval=0)
    def fails_once() -> None:
        tries.append(1)
        dbos.set_event("try", len(tries))
        if len(tries) == 1:
            raise ValueError("again")

    @dbos.workflow
    def sets_in_step() -> None:
        fails_once()

    sets_in_step()

    values = EventVersion.objects.order_by("version").values_list("value_text", flat=True)
    assert list(values) == ["1", "2"]


@pytest.mark.parametrize("key", ["", "k" * 256, "nul\0", 3])
def test_a_bad_key_is_refused(key: Any) -> None:
    @dbos.workflow
    def sets() -> None:
        dbos.set_event(key, 1)

    with pytest.raises((ValueError, TypeError)):
        sets()

    assert not Event.objects.exists()


def test_set_event_outside_a_workflow_is_an_error() -> None:
    with pytest.raises(dbos.NotInWorkflow):
        dbos.set_event("k", 1)
