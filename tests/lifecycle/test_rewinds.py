"""Rewinds: the same workflow from an earlier step on, without what came later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction

import django_dbos as dbos
from django_dbos.exceptions import ChangeRefused
from django_dbos.models import AtomicCheckpoint, Inquiry, Message, StreamEntry, Workflow
from django_dbos.store import elsewhere, get_store
from django_dbos.testing import advance, run_until_idle
from tests.lifecycle.test_forks import EVERYTHING, counts, original
from tests.lifecycle.workflows import (
    branches,
    child,
    done,
    everything,
    latest,
    maps,
    offsets,
    parent,
    recorded,
    works,
)
from tests.people.forms import approve

pytestmark = pytest.mark.django_db(databases=["default", "other"])
__all__ = ["original"]
ONCE = {"a": 1, "b": 1}


@pytest.mark.rule(90)
@pytest.mark.parametrize("step", range(1, 11))
def test_a_rewind_to_any_step_repeats_what_came_later(
    original: dbos.WorkflowHandle[Any], step: int
) -> None:
    whole, kept = recorded(original.workflow_id), recorded(original.workflow_id, step)
    done.clear()

    original.rewind(step)

    assert recorded(original.workflow_id) == kept
    assert offsets(original.workflow_id) == list(range(len(kept["entries"])))
    assert latest(original.workflow_id) == {
        key: value
        for key, value in (("stage", 2 if step > 5 else 1), ("end", True))
        if step > (2 if key == "stage" else 8)
    }
    run_until_idle()
    # The messages that were received later are pending again, in their order.
    assert original.get_result() == EVERYTHING
    assert done == {name: 1 for name, number in (("a", 1), ("b", 6)) if number >= step}
    again = recorded(original.workflow_id)
    assert [row[:3] for row in again["steps"]] == [row[:3] for row in whole["steps"]]
    assert [row[:3] for row in again["entries"]] == [row[:3] for row in whole["entries"]]
    assert again["received"] == whole["received"]


@pytest.mark.rule(90)
@pytest.mark.parametrize("step", range(1, 17))
def test_a_rewind_into_branches_leaves_no_gaps_in_streams(step: int) -> None:
    handle = branches.start()
    run_until_idle()
    result, kept = handle.get_result(), recorded(handle.workflow_id, step)

    handle.rewind(step)

    assert recorded(handle.workflow_id) == kept
    assert offsets(handle.workflow_id) == list(range(len(kept["entries"])))
    run_until_idle()
    assert handle.get_result() == result
    assert offsets(handle.workflow_id) == list(range(10))


def test_a_rewound_workflow_is_as_new_as_a_resumed_one() -> None:
    handle = everything.using(timeout=60).start()
    run_until_idle()
    before = Workflow.objects.get()
    assert before.status == "WAITING"

    handle.rewind(2)

    row = Workflow.objects.get()
    assert row.status == "ENQUEUED"
    assert (row.wake_kind, row.deadline_at, row.recovery_attempts) == (None, None, 0)
    assert row.claim_number == before.claim_number + 1
    assert row.queue_sequence > before.queue_sequence
    assert row.token != before.token
    advance(timedelta(hours=1))
    for text in ("one", "two"):
        handle.send(text, "go")
    run_until_idle()
    assert handle.get_result() == EVERYTHING
    assert done == ONCE


def test_a_message_that_a_later_step_received_is_received_again() -> None:
    handle = everything.start()
    handle.send("one", "go")
    run_until_idle()
    handle.rewind(4)
    handle.send("two", "go")
    run_until_idle()

    assert handle.get_result() == EVERYTHING


def test_a_rewind_past_a_message_that_is_gone_is_refused(
    original: dbos.WorkflowHandle[Any],
) -> None:
    before = recorded(original.workflow_id)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM dbos_message WHERE consumed_step_number = 7")

    with pytest.raises(ChangeRefused, match="the message that step 7 received is gone"):
        original.rewind(5)

    assert recorded(original.workflow_id)["steps"] == before["steps"]
    assert original.get_status() == "SUCCESS"
    original.rewind(8)
    run_until_idle()
    assert original.get_result() == EVERYTHING


def test_what_a_past_run_has_set_cannot_come_back() -> None:
    handle = counts.start(1)
    run_until_idle()

    with pytest.raises(ChangeRefused, match="They are 4 to 5: its steps before were"):
        handle.rewind(2)
    with pytest.raises(ChangeRefused, match="'old' before step 4 is gone"):
        handle.rewind(4)
    handle.rewind(6)
    run_until_idle()

    assert latest(handle.workflow_id) == {"old": 2, "older": 1}
    assert done == {"run1": 1, "run2": 1}


def test_forms_from_before_go_on_and_later_ones_are_asked_anew() -> None:
    handle = approve.start(title="Refund?")
    run_until_idle()
    dbos.answer_form(Inquiry.objects.get().pk, {"approved": "on", "amount": "1", "day": "2026-1-1"})
    run_until_idle()
    first = handle.get_result()

    handle.rewind(1)
    assert not Inquiry.objects.exists()
    assert not Message.objects.exists()
    run_until_idle()

    form = Inquiry.objects.pending().get()
    dbos.answer_form(form.pk, {"approved": "on", "amount": "2", "day": "2026-1-1"})
    run_until_idle()
    assert handle.get_result() != first


@dbos.workflow
def calls_back() -> list[Any]:
    url = dbos.callback_url("paid")
    works("a")
    value = dbos.recv("paid", timeout=None)
    works("b")
    return [url, value]


@pytest.mark.rule(93)
def test_a_callback_from_before_counts_and_a_later_one_does_not(settings: Any) -> None:
    settings.DBOS = {**settings.DBOS, "BASE_URL": "https://shop.example"}
    handle = calls_back.start()
    run_until_idle()
    handle.rewind(2)
    run_until_idle()

    callback = Inquiry.objects.pending().get()
    assert get_store().answer_inquiry(callback.pk, message="1", answer="1")
    run_until_idle()
    url, value = handle.get_result()
    assert value == 1

    handle.rewind(3)
    run_until_idle()
    assert handle.get_result() == [url, 1]
    handle.rewind(1)
    run_until_idle()
    assert handle.get_status() == "WAITING"
    assert not Message.objects.exists()
    assert Inquiry.objects.pending().get().pk != callback.pk


# Children


def test_a_rewind_past_children_is_refused_or_deletes_them() -> None:
    handle = parent.start("x")
    run_until_idle()
    child_id = f"{handle.workflow_id}-2"

    with pytest.raises(ChangeRefused, match=r"1 workflow\(s\), such as .*children=True"):
        handle.rewind(2)
    handle.rewind(3)
    run_until_idle()
    assert done == {"before": 1, "x": 1, "after": 2}

    handle.rewind(1, children=True)
    assert not Workflow.objects.filter(pk=child_id).exists()
    run_until_idle()

    assert handle.get_result() == ["x", child_id]
    assert done == {"before": 2, "x": 2, "after": 3}


def test_a_rewind_past_an_active_child_is_refused() -> None:
    handle = waits_for_child.start()
    run_until_idle()

    with pytest.raises(ChangeRefused, match=r"which it started, hasn't ended: .* WAITING"):
        handle.rewind(1, children=True)

    assert handle.get_status() == "WAITING"
    assert Workflow.objects.count() == 2


@dbos.workflow
def waits_for_child() -> Any:
    return everything.start().get_result()


def test_a_map_goes_on_where_it_was() -> None:
    handle = maps.start(3)
    run_until_idle()
    handle.rewind(3)
    run_until_idle()

    assert handle.get_result() == ["child0", "child1", "child2"]
    assert done["child0"] == 1


# Readers


@pytest.mark.rule(93)
def test_readers_of_before_find_another_workflow(original: dbos.WorkflowHandle[Any]) -> None:
    token = Workflow.objects.get().token
    reader = get_store().reader
    assert len(reader.read_entries(original.workflow_id, "log", 0, 10, token=token).entries) == 3

    original.rewind(6)

    with pytest.raises(dbos.WorkflowDoesNotExist):
        reader.read_entries(original.workflow_id, "log", 0, 10, token=token)


def test_readers_are_notified(original: dbos.WorkflowHandle[Any]) -> None:
    watch = get_store().wakeups.watch(f"stream:{original.workflow_id}:log")
    with watch as watching:
        with transaction.atomic():
            original.rewind(6)
        # pytest's transaction is never committed.
        for callback in connection.run_on_commit:
            callback[1]()
        assert watching.wait(0)


# Refusals


def test_running_and_delayed_workflows_are_refused() -> None:
    handle = rewinds_itself.using(workflow_id="self").start()
    run_until_idle()
    assert "is running it. Cancel it first" in handle.get_result()

    delayed = child.using(run_after=60).start("x")
    with pytest.raises(ChangeRefused, match="hasn't begun"):
        delayed.rewind(1)
    with pytest.raises(dbos.WorkflowDoesNotExist):
        dbos.WorkflowHandle[Any]("nothing").rewind(1)
    with pytest.raises(TypeError, match="must be an int"):
        handle.rewind("1")  # type: ignore[arg-type]


@dbos.workflow
def rewinds_itself() -> str:
    works("a")
    try:
        dbos.WorkflowHandle[Any]("self").rewind(1)
    except ChangeRefused as error:
        return error.reason
    return ""


def test_a_taken_deduplication_id_is_refused() -> None:
    handle = child.using(deduplication_id="d").start("x")
    run_until_idle()
    child.using(deduplication_id="d", run_after=60).start("y")

    with pytest.raises(ChangeRefused, match="deduplication id"):
        handle.rewind(1)

    assert handle.get_status() == "SUCCESS"
    assert len(handle.steps()) == 1


def test_an_id_that_an_ended_workflow_keeps_is_free_when_its_time_is_over() -> None:
    handle = child.using(deduplication_id="d").start("x")
    run_until_idle()
    child.using(deduplication_id="d", unique_for=3_600.0).start("y")
    run_until_idle()

    with pytest.raises(ChangeRefused, match="deduplication id"):
        handle.rewind(1)
    advance(3_601)
    handle.rewind(1)

    assert handle.get_status() == "ENQUEUED"


def test_a_workflow_that_retention_deletes_is_gone(original: dbos.WorkflowHandle[Any]) -> None:
    session = get_store().session()
    session.run("mark_for_deletion", {"workflow_ids": session.pack([original.workflow_id])})

    for change in (original.delete, lambda: original.rewind(1), lambda: original.fork(1)):
        with pytest.raises(dbos.WorkflowDoesNotExist):
            change()


# Other databases


@dbos.step(atomic=True, using="other")
def counts_elsewhere() -> int:
    done["elsewhere"] += 1
    return done["elsewhere"]


@dbos.workflow
def works_elsewhere() -> list[Any]:
    found: list[Any] = [counts_elsewhere()]
    found.append(works("a"))
    found.append(counts_elsewhere())
    return found


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.rule(93)
def test_an_atomic_step_elsewhere_runs_again_after_a_rewind() -> None:
    handle = works_elsewhere.start()
    run_until_idle()
    assert handle.get_result() == [1, "a", 2]

    handle.rewind(2)
    run_until_idle()

    assert handle.get_result() == [1, "a", 3]
    # Those of the workflow as it was before are gone.
    assert AtomicCheckpoint.objects.using("other").count() == 1
    fork = handle.fork(from_step=3)
    run_until_idle()
    assert fork.get_result() == [1, "a", 4]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.rule(93)
def test_a_deletion_and_a_rollback_of_atomic_steps_elsewhere() -> None:
    handle = works_elsewhere.start()
    run_until_idle()
    for change in (lambda: handle.rewind(2), handle.delete):
        with transaction.atomic():
            change()
            transaction.set_rollback(True)
    assert AtomicCheckpoint.objects.using("other").count() == 2

    handle.delete()
    assert not AtomicCheckpoint.objects.using("other").exists()


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.rule(93)
def test_a_step_committed_elsewhere_that_the_history_has_not_is_refused(
    original: dbos.WorkflowHandle[Any], settings: Any
) -> None:
    """A branch's atomic step was committed there when its worker was killed."""
    row = Workflow.objects.get()
    settings.DBOS = {**settings.DBOS, "STEP_DATABASES": ["other"]}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM dbos_checkpoint WHERE step_number = 3")
    call: Any = original.steps()[0]
    from django_dbos.core.records import Checkpoint as Record

    missing = Record(
        workflow_id=original.workflow_id,
        step_number=3,
        step_name=str(call.step_name),
        record_order=3,
        claim_number=1,
    )
    assert elsewhere.record("other", row.token, missing)

    for change in (lambda: original.rewind(5), lambda: original.fork(from_step=5)):
        with pytest.raises(ChangeRefused, match="atomic step 3 is committed on database 'other'"):
            change()
    original.rewind(3)
    assert connections["other"].settings_dict


@dbos.workflow
def rewinds(other_id: str) -> str:
    dbos.WorkflowHandle[Any](other_id).rewind(1)
    works("after")
    return "done"


def test_workflow_code_rewinds_others_and_records_it() -> None:
    handle = child.start("x")
    run_until_idle()
    rewinder = rewinds.start(handle.workflow_id)
    run_until_idle()

    assert rewinder.get_result() == "done"
    assert done == {"x": 2, "after": 1}
    assert rewinder.steps()[0].step_name == "dbos.rewind"
    assert StreamEntry.objects.filter(workflow_id=handle.workflow_id).count() == 1
