"""Deletion: a finished workflow with all its rows, and what it has started."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db.models import QuerySet

import django_dbos as dbos
from django_dbos.exceptions import ChangeRefused
from django_dbos.models import Workflow
from django_dbos.store import get_store
from django_dbos.testing import run_until_idle
from tests.lifecycle.test_forks import original
from tests.lifecycle.workflows import broken, child, everything, maps, parent
from tests.people.forms import approve

pytestmark = pytest.mark.django_db
__all__ = ["original"]


def rows_left(workflow_id: str) -> dict[str, int]:
    found = {}
    for model in apps.get_app_config("django_dbos").get_models():
        if any(field.name == "workflow_id" for field in model._meta.get_fields()):
            count = model._default_manager.filter(workflow_id=workflow_id).count()
            found[model.__name__] = count
    return {name: count for name, count in found.items() if count}


@pytest.mark.rule(94)
def test_no_row_of_a_deleted_workflow_is_left(original: dbos.WorkflowHandle[Any]) -> None:
    other = everything.start()
    run_until_idle()
    assert set(rows_left(original.workflow_id)) == {
        "Workflow", "Checkpoint", "Event", "EventVersion", "Message", "StreamEntry",
    }  # fmt: skip
    before = rows_left(other.workflow_id)

    original.delete()

    assert rows_left(original.workflow_id) == {}
    assert rows_left(other.workflow_id) == before
    with pytest.raises(dbos.WorkflowDoesNotExist):
        original.delete()


def test_forms_and_the_id_are_free_again() -> None:
    handle = approve.using(workflow_id="one").start(title="Refund?")
    run_until_idle()
    handle.cancel()
    handle.delete()
    assert rows_left("one") == {}

    again = approve.using(workflow_id="one").start(title="Refund?")
    run_until_idle()
    assert again.get_status() == "WAITING"


def test_active_workflows_are_refused() -> None:
    handle = everything.start()
    for status in ("ENQUEUED", "WAITING"):
        assert handle.get_status() == status
        with pytest.raises(ChangeRefused, match=f"it hasn't ended: its status is {status}"):
            handle.delete()
        run_until_idle()

    assert handle.get_status() == "WAITING"
    assert len(handle.steps()) == 4


def test_children_stay_or_go_with_their_parent() -> None:
    first, second = parent.start("x"), maps.start(3)
    run_until_idle()

    first.delete()
    second.delete(children=True)

    (left,) = Workflow.objects.all()
    assert left.parent_id == first.workflow_id


def test_an_active_child_keeps_its_parent() -> None:
    handle = starts_and_ends.start()
    run_until_idle()
    assert handle.get_status() == "SUCCESS"
    for children in (False, True):
        with pytest.raises(ChangeRefused, match="which it started, hasn't ended"):
            handle.delete(children=children)
    assert Workflow.objects.count() == 2

    Workflow.objects.get(name=everything.name).handle.cancel()
    handle.delete(children=True)
    assert not Workflow.objects.exists()


@dbos.workflow
def starts_and_ends() -> None:
    everything.start()


@pytest.mark.rule(92)
def test_a_workflow_whose_function_still_runs_is_refused() -> None:
    """A cancelled one keeps its place until then (rule 58)."""
    store: Any = get_store()
    handle = child.start("x")
    handle.cancel()
    rows: Any = QuerySet(Workflow)
    rows.filter(pk=handle.workflow_id).update(place=1, executor_id="e")

    with pytest.raises(ChangeRefused, match="its function still runs"):
        handle.delete()

    rows.filter(pk=handle.workflow_id).update(place=0, executor_id=None)
    handle.delete()
    assert store.reader.find_function(handle.workflow_id) is None


def test_a_set_of_workflows_is_deleted() -> None:
    broken.add("y")
    ended = [child.start(name) for name in "xy"]
    active = child.using(run_after=60).start("z")
    run_until_idle()

    answers = Workflow.objects.all().delete_finished()

    assert answers == {**{one.workflow_id: True for one in ended}, active.workflow_id: False}
    assert Workflow.objects.count() == 1


def test_all_workflows_are_not_deleted_by_a_forgotten_filter() -> None:
    assert not hasattr(Workflow.objects, "delete_finished")
    assert hasattr(Workflow.objects.all(), "delete_finished")


@pytest.mark.parametrize("operation", ["cancel", "retry", "delete"])
def test_children_are_not_taken_by_a_text(operation: str) -> None:
    broken.discard("x")
    handle = child.start("x")
    run_until_idle()
    many = Workflow.objects.all()
    of_many = {"delete": "delete_finished"}.get(operation, operation)

    for call in (getattr(handle, operation), getattr(many, of_many)):
        with pytest.raises(TypeError, match="children must be True or False, not str 'no'"):
            call(children="no")
    with pytest.raises(TypeError, match="children must be True or False, not int 1"):
        handle.rewind(1, children=1)  # type: ignore[arg-type]

    assert Workflow.objects.filter(pk=handle.workflow_id).exists()


def test_a_refusal_names_the_deletion() -> None:
    handle = child.using(run_after=60).start("x")

    with pytest.raises(ChangeRefused, match="The deletion of workflow"):
        handle.delete()
