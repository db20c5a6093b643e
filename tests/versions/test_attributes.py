"""handle.set_attributes(): attributes that change after the start."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

import django_dbos as dbos
from django_dbos.models import Checkpoint, Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow
def notes() -> str | None:
    workflow = dbos.current_workflow()
    assert workflow is not None
    own = dbos.retrieve_workflow(workflow.workflow_id)
    own.set_attributes({"stage": "packed"}, merge=True)
    return dbos.recv("go", timeout=None)


@dbos.workflow
async def anotes() -> str | None:
    workflow = dbos.current_workflow()
    assert workflow is not None
    own = await dbos.aretrieve_workflow(workflow.workflow_id)
    await own.aset_attributes({"stage": "packed"}, merge=True)
    return await dbos.arecv("go", timeout=None)


def attributes(handle: Any) -> Any:
    return handle.describe().attributes


def test_attributes_replace_or_join_the_others() -> None:
    handle = notes.using(attributes={"order": 1, "at": {"x": 1}}).start()

    handle.set_attributes({"at": {"y": 2}, "vip": None}, merge=True)
    assert attributes(handle) == {"order": 1, "at": {"y": 2}, "vip": None}
    handle.set_attributes({"order": 2})
    assert attributes(handle) == {"order": 2}
    handle.set_attributes({})
    assert attributes(handle) == {}


def test_workflows_without_attributes_and_ended_ones_get_them() -> None:
    handle = notes.start()
    handle.cancel()
    handle.set_attributes({"order": 1}, merge=True)

    assert attributes(handle) == {"order": 1}
    assert Workflow.objects.filter(attributes__order=1).exists()


@pytest.mark.parametrize("workflow", [notes, anotes], ids=["sync", "async"])
def test_in_a_workflow_it_is_done_once(workflow: Any) -> None:
    handle = workflow.start()
    run_until_idle()
    assert attributes(handle) == {"stage": "packed"}
    handle.set_attributes({"stage": "sent"})
    handle.send("yes", "go")
    run_until_idle()

    assert handle.get_result(timeout=0) == "yes"
    assert attributes(handle) == {"stage": "sent"}
    names = Checkpoint.objects.order_by("step_number").values_list("step_name", flat=True)
    assert "set_attributes" in list(names)[1]


def test_it_belongs_to_the_callers_transaction() -> None:
    handle = notes.using(attributes={"order": 1}).start()

    with transaction.atomic():
        handle.set_attributes({"order": 2})
        transaction.set_rollback(True)
    assert attributes(handle) == {"order": 1}


def test_bad_attributes_change_nothing() -> None:
    handle = notes.using(attributes={"order": 1}).start()
    bad: list[tuple[Any, type[Exception]]] = [
        (None, TypeError),
        ([1], TypeError),
        ({"x": object()}, TypeError),
        ({1: 2}, TypeError),
        ({"x": "\0"}, ValueError),
    ]
    for value, error in bad:
        for merge in (True, False):
            with pytest.raises(error):
                handle.set_attributes(value, merge=merge)
    with override_settings(DBOS={"MAX_PAYLOAD_BYTES": 100}):
        handle.set_attributes({"a": "x" * 50}, merge=True)
        with pytest.raises(dbos.PayloadTooLarge):
            handle.set_attributes({"b": "x" * 50}, merge=True)
    assert attributes(handle) == {"order": 1, "a": "x" * 50}
    with pytest.raises(dbos.WorkflowDoesNotExist):
        dbos.WorkflowHandle("nobody").set_attributes({})


def test_merge_is_no_text() -> None:
    handle = notes.start()

    with pytest.raises(TypeError, match="merge must be True or False, not str 'no'"):
        handle.set_attributes({"stage": "packed"}, merge="no")  # type: ignore[arg-type]
