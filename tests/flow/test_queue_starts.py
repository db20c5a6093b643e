"""Starts in queues whose partitions are limited: without a key they are refused at the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import django_dbos as dbos
from django_dbos import queues
from django_dbos.models import Workflow
from django_dbos.testing import run_until_idle

pytestmark = pytest.mark.django_db


@dbos.workflow(queue_name="imports")
def imports() -> str:
    return "done"


@dbos.workflow
def starts_children() -> str:
    try:
        imports.start()
    except ValueError as error:
        return str(error)
    return "started"


@pytest.fixture(params=["partition_concurrency", "partition_rate_limit"])
def limit(request: Any, settings: Any) -> str:
    value = {"partition_concurrency": 1, "partition_rate_limit": "1/s"}[request.param]
    settings.DBOS = {"STEP_DATABASES": ["other"], "QUEUES": {"imports": {request.param: value}}}
    return str(request.param)


STARTS: list[Callable[[], object]] = [
    lambda: imports(),
    lambda: imports.start(),
    lambda: imports.start_many([()] * 2),
    lambda: imports.using(partition_key=None).start(),
    lambda: dbos.start_by_name(imports.name),
]


@pytest.mark.parametrize("start", STARTS)
def test_a_start_without_a_key_is_refused_and_leaves_nothing(
    limit: str, start: Callable[[], object]
) -> None:
    with pytest.raises(ValueError, match=f"Queue 'imports' has {limit}, so a start in it needs"):
        start()

    assert not Workflow.objects.exists()


@pytest.mark.usefixtures("limit")
def test_a_start_with_a_key_or_in_another_queue_is_not_refused() -> None:
    imports.using(partition_key="customer-7").start()
    imports.using(queue_name="other").start()

    assert Workflow.objects.count() == 2


@pytest.mark.usefixtures("limit")
def test_a_child_without_a_key_is_refused_in_its_parent() -> None:
    handle = starts_children.start()
    run_until_idle()

    assert "needs a partition key" in handle.get_result(timeout=0)
    assert Workflow.objects.count() == 1


def test_a_limit_that_was_set_at_run_time_refuses_no_start() -> None:
    queues.set("imports", partition_concurrency=1)

    imports.start()

    assert Workflow.objects.count() == 1
