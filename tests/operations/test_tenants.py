"""All users share one set of ids, but a start with another user's id doesn't get the result."""

from __future__ import annotations

from typing import Any

import pytest

import django_dbos as dbos
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow
def echo(value: Any = None) -> Any:
    return value


@dbos.workflow
def waits(value: Any = None) -> Any:
    return dbos.recv(timeout=None)


@dbos.workflow
def starts(**options: Any) -> Any:
    try:
        return waits.using(**options).start().workflow_id
    except dbos.UserConflict as error:
        return str(error)


def start_outside(**options: Any) -> Any:
    return waits.using(**options).start().workflow_id


def start_inside(**options: Any) -> Any:
    user = options.pop("user", None)
    handle = starts.using(user=user).start(**options)
    run_until_idle()
    answer = handle.get_result()
    if "doesn't belong to user" in answer:
        raise dbos.UserConflict("The answer", answer, str(user))
    return answer


each_side = pytest.mark.parametrize("start", [start_outside, start_inside])
each_id = pytest.mark.parametrize(
    "taken", [{"workflow_id": "order-17"}, {"deduplication_id": "order-17"}]
)


@each_side
@each_id
def test_an_id_of_another_user_is_refused(start: Any, taken: dict[str, str]) -> None:
    waits.using(user=1, **taken).start("customer 1's address")

    with pytest.raises(dbos.WorkflowIdConflict, match="order-17") as caught:
        start(user=2, **taken)

    assert "address" not in str(caught.value)
    assert "'1'" not in str(caught.value)
    assert Workflow.objects.filter(name=waits.name).count() == 1


@each_side
@each_id
@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, None), (None, 2), (None, None)])
def test_an_id_of_the_same_or_no_user_returns_its_workflow(
    start: Any, taken: dict[str, str], first: int | None, second: int | None
) -> None:
    existing = waits.using(user=first, **taken).start()

    assert start(user=second, **taken) == existing.workflow_id


def test_start_many_is_refused_as_a_whole() -> None:
    waits.using(user=1, workflow_id="a").start()

    with pytest.raises(dbos.UserConflict):
        waits.using(user=2, workflow_id="a").start_many([("mine",)])
