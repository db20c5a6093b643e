"""Commands from before atomic(): set_autocommit(False), several changes, commit()."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

import django_dbos as dbos
from django_dbos.executor import Executor
from django_dbos.models import Message, Workflow
from django_dbos.testing import run_until_idle
from tests.capabilities import notifies
from tests.waiting import LIMIT

pytestmark = pytest.mark.django_db(transaction=True)


@dbos.workflow
def hello(value: Any = None) -> Any:
    return value


@dbos.workflow
def waits() -> Any:
    return dbos.recv("x", timeout=None)


@pytest.fixture
def by_hand() -> Iterator[None]:
    yield
    connection.rollback()
    connection.set_autocommit(True)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "start": lambda other: hello.using(workflow_id="new").start(),
    "start later": lambda other: hello.using(workflow_id="new", run_after=60).start(),
    "start many": lambda other: hello.start_many([(1,), (2,)]),
    "send": lambda other: other.send(1, topic="x"),
    "send many": lambda other: dbos.send_many(
        [{"workflow_id": other.workflow_id, "message": n, "topic": "x"} for n in range(2)]
    ),
    "cancel": lambda other: other.cancel(),
    "resume": lambda other: other.resume(),
    "run now": lambda other: other.run_now(),
}


def found() -> list[Any]:
    rows = Workflow.objects.order_by("workflow_id").values_list("name", "status", "priority")
    return [*rows, Message.objects.count()]


@pytest.mark.parametrize("is_in_atomic", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_committed_by_the_caller(name: str, is_in_atomic: bool, by_hand: None) -> None:
    if is_in_atomic and connection.vendor == "sqlite":
        pytest.skip("There Django's atomic() commits.")
    other: Any = (hello.using(run_after=60) if name == "run now" else waits).start()
    run_until_idle()
    before = found()

    def change() -> None:
        if is_in_atomic:
            with transaction.atomic():
                CHANGES[name](other)
        else:
            CHANGES[name](other)

    transaction.set_autocommit(False)
    change()
    inside = found()
    transaction.rollback()
    assert found() == before != inside
    transaction.rollback()

    change()
    transaction.commit()
    transaction.rollback()
    assert found() == inside
    assert connection.run_on_commit == []


@pytest.mark.rule(14)
def test_workers_are_notified_of_a_manual_commit(worker: Executor, by_hand: None) -> None:
    waiting = waits.start()
    transaction.set_autocommit(False)
    handle = hello.start("by hand")
    waiting.send("told", topic="x")
    transaction.commit()
    transaction.set_autocommit(True)

    assert handle.get_result(timeout=LIMIT) == "by hand"
    assert waiting.get_result(timeout=LIMIT) == "told"


@pytest.mark.rule(14)
@notifies
def test_workers_are_notified_after_the_commit_and_not_before(by_hand: None) -> None:
    import psycopg

    listener = psycopg.connect(**connection.get_connection_params(), autocommit=True)
    listener.execute("LISTEN dbos_enqueued")
    try:
        transaction.set_autocommit(False)
        hello.using(queue_name="rolled back").start()
        transaction.rollback()
        hello.using(queue_name="committed").start()
        assert list(listener.notifies(timeout=0)) == []
        transaction.commit()
        (told,) = listener.notifies(timeout=60, stop_after=1)
    finally:
        listener.close()

    assert json.loads(told.payload) == ["committed", 0]


@pytest.mark.rule(26)
def test_waits_are_refused_before_the_caller_commits(by_hand: None) -> None:
    transaction.set_autocommit(False)
    handle = hello.start()

    for wait in (handle.get_result, lambda: handle.get_event("x"), hello):
        with pytest.raises(dbos.NotAllowedInAtomic, match="with autocommit"):
            wait()
