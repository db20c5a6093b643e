"""Atomic steps beside other branches of an async workflow, recorded separately."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Checkpoint
from django_dbos.operations import atomic_steps
from tests.waiting import LIMIT, eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
everywhere = pytest.mark.parametrize("alias", ["default", "other"])

delivered: list[str] = []
is_failed = threading.Event()
has_begun, is_left, is_committed = threading.Event(), threading.Event(), threading.Event()


@pytest.fixture
def papers() -> Iterator[None]:
    """Create a table of papers whose COMMIT fails if a folder is missing."""
    for alias in ("default", "other"):
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE folder (id integer PRIMARY KEY)")
            cursor.execute(
                "CREATE TABLE paper (folder integer REFERENCES folder (id) "
                "DEFERRABLE INITIALLY DEFERRED)"
            )
    yield
    for alias in ("default", "other"):
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TABLE paper")
            cursor.execute("DROP TABLE folder")


def file_in(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO paper VALUES (1)")


@dbos.step(atomic=True, max_attempts=2, interval=3_000, name="file_here")
def file_here() -> None:
    file_in("default")


@dbos.step(atomic=True, using="other", max_attempts=2, interval=3_000, name="file_elsewhere")
def file_elsewhere() -> None:
    file_in("other")


@dbos.step
async def light(number: int) -> int:
    return number


async def lights() -> None:
    for number in range(5):
        await light(number)


@dbos.workflow
async def files(alias: str) -> None:
    step = file_here if alias == "default" else file_elsewhere
    await asyncio.gather(step.acall(), lights())


@pytest.mark.rule(21)
@everywhere
def test_other_branches_continue_while_an_attempt_with_a_failed_commit_waits(
    alias: str, papers: None
) -> None:
    with Executor(concurrency=1) as executor:
        handle = files.start(alias)

        recorded = Checkpoint.objects.filter(workflow_id=handle.workflow_id)
        eventually(lambda: recorded.filter(step_name__startswith="file_").exists())
        eventually(lambda: recorded.filter(step_name__endswith="light").count() == 5)
        handle.cancel()
        executor.stop()


@dbos.step(atomic=True)
def fails_here() -> None:
    raise LookupError("here")


@dbos.step(atomic=True, using="other")
def fails_elsewhere() -> None:
    raise LookupError("elsewhere")


@dbos.step
async def follows() -> None:
    await asyncio.to_thread(is_failed.wait, LIMIT)


async def fail(alias: str) -> None:
    try:
        await (fails_here if alias == "default" else fails_elsewhere).acall()
    except LookupError:
        delivered.append("fails")


async def follow() -> None:
    await follows()
    delivered.append("follows")


@dbos.workflow
async def fails_first(alias: str) -> None:
    await asyncio.gather(fail(alias), follow())


@pytest.mark.rule(21)
@everywhere
def test_a_failure_recorded_first_is_delivered_first(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = atomic_steps.record_failure

    def record_failure(recorder: Any, checkpoint: Any, error: BaseException) -> Any:
        """Record the failure, and delay the return while later outcomes are recorded."""
        try:
            return record(recorder, checkpoint, error)
        finally:
            is_failed.set()
            others = Checkpoint.objects.filter(step_name="follows")
            eventually(others.exists)
            connections.close_all()
            threading.Event().wait(0.2)

    delivered.clear()
    is_failed.clear()
    monkeypatch.setattr(atomic_steps, "record_failure", record_failure)

    with Executor(concurrency=1):
        handle = fails_first.start(alias)
        handle.get_result(timeout=LIMIT)

    in_order = Checkpoint.objects.filter(workflow_id=handle.workflow_id).order_by("record_order")
    assert [one.step_name.partition("_")[0] for one in in_order] == ["fails", "follows"]
    assert delivered == ["fails", "follows"]


@dbos.step(atomic=True, using="other")
def commits_late() -> None:
    has_begun.set()
    is_left.wait(LIMIT)
    transaction.on_commit(is_committed.set, using="other")


@dbos.step
async def fails_meanwhile() -> None:
    await asyncio.to_thread(has_begun.wait, LIMIT)
    raise LookupError


@dbos.workflow
async def goes_on() -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(commits_late.acall())
            group.create_task(fails_meanwhile())
    except* LookupError:
        is_left.set()
    await asyncio.to_thread(is_committed.wait, LIMIT)
    await asyncio.gather(light(1), light(2))


@pytest.mark.rule(21)
def test_a_step_of_a_cancelled_branch_delays_no_other() -> None:
    for event in (has_begun, is_left, is_committed):
        event.clear()

    with Executor(concurrency=1):
        goes_on.start().get_result(timeout=LIMIT)
