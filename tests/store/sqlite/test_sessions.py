"""The connection that the executors of a process share on SQLite, and its lock."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from django_dbos.core.records import Claim, Finish, Verdict
from django_dbos.core.status import Status
from django_dbos.fields import instant_to_text
from django_dbos.models import Checkpoint, Workflow
from django_dbos.store import errors
from django_dbos.store.sqlite.parameters import to_text
from django_dbos.store.sqlite.row_statements import for_rows, parts_of
from django_dbos.store.sqlite.sessions import WorkerConnection
from tests.store.conftest import step
from tests.waiting import LIMIT

pytestmark = [
    pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own"),
    pytest.mark.django_db(transaction=True),
]

Claims = Callable[..., Claim]


@pytest.fixture
def own(transactional_db: None) -> Iterator[WorkerConnection]:
    own = WorkerConnection("default")
    yield own
    own.close()


def in_thread(act: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_threads_take_turns_without_queries(store: Any, session: Any) -> None:
    seen = []

    def run() -> None:
        # Inside the transaction of the other thread it would read the row.
        seen.append(session.run("list_held", {"executor_id": "x"}))

    with session.transaction():
        other = in_thread(run)
        other.join(0.05)
        assert other.is_alive()
    other.join(LIMIT)

    assert seen == [[]]


def test_a_failed_transaction_leaves_nothing_and_its_connection_usable(own: Any) -> None:
    insert = "INSERT INTO dbos_sequence (name, value) VALUES (?, 1)"

    def insert_twice() -> None:
        with own.transaction(), own.in_use() as raw:
            raw.execute(insert, ("a",))
            raw.execute(insert, ("a",))

    with pytest.raises(errors.BadStatement):
        insert_twice()
    with own.transaction(), own.in_use() as raw:
        raw.execute(insert, ("b",))

    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM dbos_sequence WHERE name IN ('a', 'b')")
        assert cursor.fetchall() == [("b",)]
        cursor.execute("DELETE FROM dbos_sequence WHERE name = 'b'")


def test_an_inner_transaction_is_part_of_the_outer_one(own: WorkerConnection) -> None:
    class Stop(Exception):
        pass

    with contextlib.suppress(Stop), own.transaction():
        with own.transaction(), own.in_use() as raw:
            raw.execute("INSERT INTO dbos_sequence (name, value) VALUES ('c', 1)")
        raise Stop

    with own.in_use() as raw:
        assert raw.execute("SELECT name FROM dbos_sequence WHERE name = 'c'").fetchall() == []


@pytest.mark.rule(38)
def test_a_locked_database_is_an_outage(
    own: WorkerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own.in_use() as raw:
        raw.execute("PRAGMA busy_timeout = 10")
    with transaction.atomic():
        connection.cursor().execute("DELETE FROM dbos_sequence WHERE name = 'none'")
        other: list[Exception] = []

        def write() -> None:
            try:
                with own.transaction():
                    pass
            except errors.Unavailable as error:
                other.append(error)

        in_thread(write).join(LIMIT)
    assert len(other) == 1

    with own.transaction():
        pass


def test_its_version_changes_only_with_commits_of_other_connections(own: WorkerConnection) -> None:
    before = own.version()
    with own.transaction(), own.in_use() as raw:
        raw.execute("DELETE FROM dbos_sequence WHERE name = 'none'")
        raw.execute("INSERT INTO dbos_sequence (name, value) VALUES ('d', 1)")
    assert own.version() == before

    connection.cursor().execute("DELETE FROM dbos_sequence WHERE name = 'd'")
    changed = own.version()
    assert changed != before

    own.close()
    # The versions of two connections aren't comparable.
    assert own.version() != changed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_leaves_the_connection_to_its_parent(own: WorkerConnection) -> None:
    with own.in_use() as raw:
        raw.execute("SELECT 1")
    child = os.fork()
    if not child:
        own.leave_to_parent()
        del own, raw
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    with own.transaction(), own.in_use() as raw:
        raw.execute("DELETE FROM dbos_sequence WHERE name = 'none'")


def test_rows_are_inserted_by_few_statements_of_few_sizes() -> None:
    rows = [(number, "x") for number in range(1, 600)]

    parts = list(parts_of(rows))

    assert [len(part) for part in parts] == [512, 128]
    assert [row for part in parts for row in part if row != (None, None)] == rows
    assert list(parts_of([])) == []
    assert list(parts_of(rows[:1])) == [[(1, "x")]]


def test_a_statement_for_rows_has_its_parameters_in_order() -> None:
    text = "SELECT %(a)s FROM (\n    VALUES (%(x)s,\n %(y)s)\n) WHERE %(b)s = %(a)s"

    statement = for_rows(text, 2)

    together = statement.text.replace("\n", "").replace(" ", "")
    assert together == "SELECT?FROM(VALUES(?,?),(?,?))WHERE?=?"
    assert statement.params([(1, 2), (3, 4)], {"a": "a", "b": "b"}) == [
        "a", 1, 2, 3, 4, "b", "a",
    ]  # fmt: skip


def end(held: Claim, **options: Any) -> Finish:
    return Finish(
        workflow_id=held.workflow_id,
        claim_number=held.claim_number,
        status=Status.SUCCESS,
        **options,
    )


@pytest.mark.rule(11)
def test_one_lost_claim_of_a_batch_stops_no_other_write(
    store: Any, session: Any, executor_id: str, claim: Claims
) -> None:
    held, lost, ending = claim(), claim(), claim()
    store.cancel_workflows([lost.workflow_id])
    batch = [step(held), step(lost), end(ending)]

    answers = store.apply(session, executor_id, batch, is_repeat=False).answers

    assert [one.verdict for one in answers] == [
        Verdict.DONE, Verdict.CLAIM_LOST, Verdict.DONE,
    ]  # fmt: skip
    assert [checkpoint.workflow_id for checkpoint in Checkpoint.objects.all()] == [held.workflow_id]
    assert Workflow.objects.get(workflow_id=ending.workflow_id).status == Status.SUCCESS


@pytest.mark.rule(10)
def test_a_step_that_is_already_recorded_is_found(
    store: Any, session: Any, executor_id: str, claim: Claims
) -> None:
    held, other = claim(), claim()
    store.apply(session, executor_id, [step(held, output="1")], is_repeat=False)

    batch = [step(other), step(held, output="2")]
    answers = store.apply(session, executor_id, batch, is_repeat=False).answers

    assert [answer.verdict for answer in answers] == [Verdict.DONE, Verdict.FOUND]
    assert answers[1].checkpoint.output == "1"
    assert Checkpoint.objects.count() == 2


def test_more_rows_than_one_statement_takes_are_written(
    store: Any, session: Any, executor_id: str, claim: Claims
) -> None:
    held = [claim() for _ in range(3)]
    batch = [step(one, number) for one in held for number in range(1, 190)]

    answers = store.apply(session, executor_id, batch, is_repeat=False).answers

    assert {answer.verdict for answer in answers} == {Verdict.DONE}
    assert Checkpoint.objects.count() == len(batch)


def test_an_instant_is_written_in_the_format_of_the_fields() -> None:
    for instant in (datetime(2026, 1, 2, tzinfo=UTC), datetime.now(UTC) - timedelta(days=9)):
        assert to_text(instant) == instant_to_text(instant)
