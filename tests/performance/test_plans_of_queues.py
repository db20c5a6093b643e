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
QUEUE = """
    INSERT INTO dbos_queue (
        name, concurrency, partition_concurrency, rate_count, rate_period, is_managed, updated_at
    )
    VALUES ('big', 5000, 1, 100000, 60, true, now())
"""
WORKFLOWS = f"""
    INSERT INTO dbos_workflow (
        workflow_id, token, name, status, queue_name, partition_key, priority, queue_sequence,
        input, created_at
    )
    SELECT
        'big-' || n, gen_random_uuid(), 'shop.work', 'ENQUEUED', 'big', 'key-' || n % {KEYS},
        n % 3, n, '{{}}', now()
    FROM generate_series(1, {ROWS}) AS n
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
# ANALYZE came while the first rows were there, but not committed: all plans seem to cost the same.
FORGET = """
    SELECT pg_restore_relation_stats(
        'schemaname', nspname::text, 'relname', relname::text, 'relpages', 45, 'reltuples', 0::real
    )
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = 'dbos_workflow'::regclass
"""


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
            for text in (history.LIVE_ROWS[0], QUEUE, WORKFLOWS, FULL, "ANALYZE dbos_workflow"):
                worker.execute(text)
            for name in ("claim_in_turn", "list_lanes", "lock_queue"):
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
    if connection.pg_version < 180000:
        pytest.skip("PostgreSQL 18 is the first to search an index for any of its columns.")
    found = plan(worker, "claim_in_turn", mode, FORGET)

    assert found.scanned == [], found.text
    assert LIMIT < found.rows <= 8 * LIMIT, found.text


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
