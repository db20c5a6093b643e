"""manage.py dbos_fork, dbos_rewind, dbos_retry and dbos_delete."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle
from tests.lifecycle.workflows import broken, child, done, everything, fails, parent

pytestmark = pytest.mark.django_db


def run(name: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


def run_and_fail(name: str, *arguments: str) -> tuple[str, CommandError]:
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(name, *arguments, stdout=out)
    return out.getvalue(), caught.value


def test_a_failed_workflow_is_retried() -> None:
    broken.add("b")
    handle = fails.start()
    run_until_idle()
    broken.clear()

    assert run("dbos_retry", handle.workflow_id) == f"{handle.workflow_id} retried\n"

    run_until_idle()
    assert handle.get_result() == "done"


def test_one_that_is_refused_leaves_the_others_changed() -> None:
    broken.add("b")
    handle, healthy = fails.start(), child.start("x")
    run_until_idle()

    text, error = run_and_fail(
        "dbos_retry", healthy.workflow_id, handle.workflow_id, "nothing", "--format", "json"
    )

    answers: list[Any] = json.loads(text)["workflows"]
    assert [answer["done"] for answer in answers] == [False, True, False]
    assert answers[0]["reason"] == ("can't be retried: it hasn't failed: its status is SUCCESS")
    assert answers[2]["reason"] == "doesn't exist"
    assert str(error).endswith("its status is SUCCESS, and 1 more.")
    assert error.returncode == 1
    assert handle.get_status() == "ENQUEUED"


def test_a_workflow_is_rewound() -> None:
    handle = parent.start("x")
    run_until_idle()

    text, _ = run_and_fail("dbos_rewind", handle.workflow_id, "--to-step", "2")
    assert "children=True" in text
    run("dbos_rewind", handle.workflow_id, "--to-step", "2", "--children")
    run_until_idle()

    assert done == {"before": 1, "x": 2, "after": 2}
    assert run_and_fail("dbos_rewind", handle.workflow_id, "--to-step", "0")[1].returncode == 2
    assert run_and_fail("dbos_rewind", handle.workflow_id, "--to-step", "9")[1].returncode == 1


def test_workflows_are_forked() -> None:
    handles = [child.start(name) for name in "xy"]
    run_until_idle()
    ids = [handle.workflow_id for handle in handles]
    options = ("--from-step", "1", "--queue-name", "slow", "--format", "json")

    answers = json.loads(run("dbos_fork", *ids, *options))["workflows"]
    line = run("dbos_fork", ids[0], "--from-step", "1", "--new-args", '["z"]')
    run_until_idle()

    assert [answer["workflow_id"] for answer in answers] == ids
    forks = {answer["fork_id"] for answer in answers}
    assert set(Workflow.objects.filter(queue_name="slow").values_list("pk", flat=True)) == forks
    assert line.startswith(f"{ids[0]} forked as ")
    assert done == {"x": 2, "y": 2, "z": 1}
    for wrong in ((), ("--from-step", "1", "--from-failure"), ("--from-step", "0")):
        assert run_and_fail("dbos_fork", ids[0], *wrong)[1].returncode == 2


def test_what_filters_find_is_changed() -> None:
    broken.update("xy")
    failed = [child.using(queue_name="mail").start(name) for name in "xyx"]
    with_children = waits_for_child.using(queue_name="mail").start()
    run_until_idle()
    broken.clear()

    text = run("dbos_fork", "--queue", "mail", "--status", "ERROR", "--from-failure", "--yes")
    assert text.splitlines()[-1] == "3 forked"
    assert len(text.splitlines()) == 4
    text, error = run_and_fail("dbos_rewind", "--queue", "mail", "--to-step", "1", "--yes")
    assert text.splitlines()[-1] == "6 rewound"
    assert f"{with_children.workflow_id} can't be rewound: the steps from step 1" in text
    assert str(error) == "1 of 7 refused."
    assert [handle.get_status() for handle in failed] == ["ENQUEUED"] * 3
    run_until_idle()
    assert run("dbos_delete", "--queue", "mail", "--yes") == "6 deleted\n"


@dbos.workflow
def waits_for_child() -> Any:
    return everything.using(queue_name="other").start().get_result()


def test_workflows_are_deleted() -> None:
    handle, active = child.start("x"), child.using(run_after=60).start("y")
    run_until_idle()

    text, _ = run_and_fail("dbos_delete", handle.workflow_id, active.workflow_id)

    assert f"{handle.workflow_id} deleted\n" in text
    assert f"{active.workflow_id} can't be deleted: it hasn't ended: its status is DELAYED" in text
    assert list(Workflow.objects.values_list("pk", flat=True)) == [active.workflow_id]
