"""The cost of a batch: the round trips of the writer's connection to PostgreSQL."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from django_dbos.core.records import Claim, Finish, RecordEvent, Verdict, Write
from django_dbos.core.status import Status
from django_dbos.store.base import Store
from tests.store.conftest import entry, step

pytestmark = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite is in the process"
)
Claims = Callable[..., Claim]


@contextmanager
def counted(session: Any) -> Iterator[list[int]]:
    """Count the round trips by libpq's trace of messages."""
    trips: list[int] = []
    with tempfile.TemporaryFile("w+") as file:
        descriptor = os.dup(file.fileno())
        session.connection.pgconn.trace(descriptor)
        yield trips
        session.connection.pgconn.untrace()
        os.close(descriptor)
        file.seek(0)

        directions = [line.split("\t")[1] for line in file if line.count("\t") >= 2]
    turns = zip(["B", *directions], directions, strict=False)
    trips.append(sum(before == "B" and now == "F" for before, now in turns))


@pytest.fixture
def warm(store: Store, session: Any, executor_id: str, claim: Claims) -> Claim:
    """Claim a workflow and write steps and entries until all statements are prepared."""
    held = claim()
    for number in range(1, 9):
        for writes in ([step(held, number)], [step(held, 30 + number), step(held, 40 + number)],
                       [entry(held, "0")]):  # fmt: skip
            store.apply(session, executor_id, writes, is_repeat=False)
    return held


def test_a_batch_of_steps_is_one_round_trip(
    store: Store, session: Any, executor_id: str, warm: Claim, claim: Claims
) -> None:
    other = claim()
    batches: list[list[Write]] = [[step(warm, 20)], [step(warm, 21), step(warm, 22), step(other)]]

    for writes in batches:
        with counted(session) as trips:
            plan = store.apply(session, executor_id, writes, is_repeat=False)

        assert {answer.verdict for answer in plan.answers} == {Verdict.DONE}
        assert trips == [1]


def test_any_other_batch_is_two_round_trips(
    store: Store, session: Any, executor_id: str, warm: Claim, claim: Claims
) -> None:
    other = claim()
    values: dict[str, Any] = {"workflow_id": warm.workflow_id, "claim_number": warm.claim_number}
    event = RecordEvent(checkpoint=None, key="k", value="1", step_number=1, **values)
    finish = Finish(
        workflow_id=other.workflow_id, claim_number=other.claim_number, status=Status.SUCCESS
    )

    with counted(session) as trips:
        plan = store.apply(
            session, executor_id, [step(warm, 20), entry(warm, "1"), event, finish], is_repeat=False
        )

    assert {answer.verdict for answer in plan.answers} == {Verdict.DONE}
    assert trips == [2]
