"""Plans on a queue with 1,000,000 rows of 10,000 partition keys: a claim reads what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from django_dbos.store import get_store
from tests.performance import history

psycopg = pytest.importorskip("psycopg")

# This one needs psycopg, too.
from tests.performance import explain  # noqa: E402

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's plans"),
    pytest.mark.django_db,
]

ROWS, KEYS, LIMIT, VISITS = 1_000_000, 10_000, 100, 500
EXECUTOR = "executor-0"
# Makes the index of the lanes higher than others, which then seem to cost less, if all are empty.
SUFFIX = "-" * 60
QUEUE = """
    INSERT INTO dbos_queue (
        name, concurrency, partition_concurrency, rate_count, rate_period, is_managed, updated_at
    )
    VALUES ('big', 5000, 1, 100000, 60, true, now())
"""
INSERT = """
    INSERT INTO dbos_workflow (
        workflow_id, token, name, status, queue_name, partition_key, priority, queue_sequence,
        input, created_at
    )
"""
WORKFLOWS = f"""
    {INSERT}
    SELECT
        'big-' || n, gen_random_uuid(), 'shop.work', 'ENQUEUED', 'big',
        'key-' || n % {KEYS} || '{SUFFIX}', n % 3, n, '{{}}', now()
    FROM generate_series(1, {ROWS}) AS n
"""
# Beside it a queue without limits.
IN_LANE = 10_000
LANE = f"""
    {INSERT}
    SELECT
        'plain-' || n, gen_random_uuid(), 'shop.work', 'ENQUEUED', 'plain', '', 0, n, '{{}}', now()
    FROM generate_series(1, {IN_LANE}) AS n
"""
# The keys with the lowest names are full: 0, 1, 10 to 13, 100 to 139, 1000 to 1399.
FULL_KEYS = 446
FULL = """
    UPDATE dbos_workflow
    SET status = 'PENDING', place = 1, executor_id = 'executor-0'
    WHERE workflow_id IN (
        SELECT min(workflow_id)
        FROM dbos_workflow
        WHERE partition_key < 'key-14'
        GROUP BY partition_key
    )
"""
EXHAUSTED = """
    INSERT INTO dbos_queue_start (queue_name, partition_key, last_at, count)
    VALUES ('big', '', now() + interval '1 hour', 100000)
"""
CLAIM = {
    "executor_id": EXECUTOR,
    "queue_name": "big",
    "names": ["shop.work"],
    "adopted": "{}",
    "after": "key-2",
    "limit": LIMIT,
    "max_visits": VISITS,
}
MODES = ["force_custom_plan", "force_generic_plan"]


@pytest.fixture(scope="module")
def worker(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """Return a worker's connection to tables with the queue."""
    with django_db_blocker.unblock():
        session: Any = get_store().connect(EXECUTOR, "plans")
        worker = session.connection
        session._forget_line()
        try:
            for text in (*history.CREATE, f"SET search_path TO {history.SCHEMA}, public"):
                worker.execute(text)
            worker.execute(history.LIVE_ROWS[0])
            for text in (QUEUE, WORKFLOWS, LANE, FULL, "ANALYZE dbos_workflow"):
                worker.execute(text)
            for name in ("claim_in_turn", "claim_workflows", "list_lanes", "lock_queue"):
                explain.prepare(worker, name)
            yield worker
        finally:
            worker.execute(history.DROP)
            session.close()


def plan(worker: Any, name: str, mode: str, *before: str, **params: Any) -> explain.Plan:
    """Explain a statement in a transaction that has locked the queue."""
    call = explain.call(worker, name, {**CLAIM, **params})
    with worker.transaction(force_rollback=True):
        for text in (*before, explain.call(worker, "lock_queue", CLAIM)):
            worker.execute(text)
        worker.execute(f"SET LOCAL plan_cache_mode = {mode}")
        return explain.explain(worker, call)


@pytest.mark.rule(57)
@pytest.mark.parametrize("mode", MODES)
def test_a_claim_reads_the_workflows_that_it_takes(mode: str, worker: Any) -> None:
    found = plan(worker, "claim_in_turn", mode)

    assert found.scanned == [], found.text
    # Of each key the next one, that it is there, its places, and the row that is taken and changed.
    assert LIMIT < found.rows <= 8 * LIMIT, found.text


@pytest.mark.rule(57)
@pytest.mark.parametrize("mode", MODES)
def test_a_claim_reads_no_more_by_the_statistics_of_an_empty_table(mode: str, worker: Any) -> None:
    """Another index with the queue in it made each claim read all workflows of the queue."""
    if not history.can_seem_empty(worker):
        pytest.skip("Older servers can't be given statistics.")
    found = plan(worker, "claim_in_turn", mode, *history.SEEM_EMPTY)

    assert found.scanned == [], found.text
    assert LIMIT < found.rows <= 8 * LIMIT, found.text


@pytest.mark.parametrize("seems_empty", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_claim_of_a_lane_reads_the_workflows_that_it_takes(
    mode: str, seems_empty: bool, worker: Any
) -> None:
    if seems_empty and not history.can_seem_empty(worker):
        pytest.skip("Older servers can't be given statistics.")
    before = history.SEEM_EMPTY if seems_empty else []
    lane = {"queue_name": "plain", "priority": 0, "above": 0}
    found = plan(worker, "claim_workflows", mode, *before, **lane)

    assert found.scanned == [], found.text
    # Each is read, and found again to be changed.
    assert found.rows == 2 * LIMIT, found.text


@pytest.mark.rule(57)
@pytest.mark.parametrize("mode", MODES)
def test_a_claim_passes_full_keys_up_to_a_limit(mode: str, worker: Any) -> None:
    found = plan(worker, "claim_in_turn", mode, after="")

    assert found.scanned == [], found.text
    assert found.rows <= 3 * VISITS + 8 * LIMIT, found.text


@pytest.mark.rule(56)
@pytest.mark.parametrize("mode", MODES)
def test_without_a_start_left_a_claim_reads_only_what_has_run_before(
    mode: str, worker: Any
) -> None:
    found = plan(worker, "claim_in_turn", mode, EXHAUSTED)

    assert found.scanned == [], found.text
    # The places that are held in the queue are counted.
    assert found.rows <= FULL_KEYS + 50, found.text


@pytest.mark.parametrize("mode", MODES)
def test_lanes_are_found_without_a_look_at_each_key(mode: str, worker: Any) -> None:
    found = plan(worker, "list_lanes", mode)

    assert found.scanned == [], found.text
    assert found.rows <= 10, found.text
