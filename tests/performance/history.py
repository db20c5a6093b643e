"""Tables full of history with a few hundred active rows, as the statements of workers meet them.

The rows have their own schema, so that other tests see neither them nor their statistics.
"""

from __future__ import annotations

from typing import Any

SCHEMA = "dbos_history"
TABLES = (
    "dbos_workflow",
    "dbos_checkpoint",
    "dbos_message",
    "dbos_event",
    "dbos_event_version",
    "dbos_stream_entry",
    "dbos_past_run",
    "dbos_queue_start",
    "dbos_queue",
    "dbos_executor",
    "dbos_wake",
    "dbos_inquiry",
)
# These tables have a row per process and per queue, so scans are harmless.
GUARDED = frozenset(TABLES) - {"dbos_executor", "dbos_queue"}
WORKFLOWS, CHECKPOINTS_EACH = 100_000, 3
# The active workflows by status, spread over two queues, three executors and three kinds of
# waits. Every hundredth finished workflow has left an unconsumed message.
ENQUEUED, PENDING, WAITING, DELAYED = 4_000, 300, 3_000, 60
# Workflows that wait for any of several things, and how many things.
ANY, PARTS = 100, 4
# In a queue with limits: enqueued workflows with partition keys, and some that hold places.
KEYED, KEYS, PLACES = 2_000, 500, 30
LIVE = ENQUEUED + PENDING + WAITING + ANY * (1 + PARTS) + DELAYED + KEYED + PLACES
EXECUTORS = ("executor-0", "executor-1", "executor-2")

CREATE = [
    f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE",
    f"CREATE SCHEMA {SCHEMA}",
    *(
        # The test decides when statistics are collected.
        f"CREATE UNLOGGED TABLE {SCHEMA}.{table} (LIKE public.{table} INCLUDING ALL) "
        "WITH (autovacuum_enabled = off)"
        for table in TABLES
    ),
]
DROP = f"DROP SCHEMA {SCHEMA} CASCADE"
ANALYZE = "ANALYZE " + ", ".join(TABLES)
# What ANALYZE leaves that came while the first rows were there, but not committed: a table with
# pages and without rows. All plans seem to cost the same.
OF_TABLES = f"""
    FROM pg_class AS one
    JOIN pg_namespace AS namespace ON namespace.oid = one.relnamespace AND nspname = '{SCHEMA}'
"""
SEEM_EMPTY = [
    f"""
    SELECT pg_clear_attribute_stats('{SCHEMA}', relname::text, attname::text, false)
    {OF_TABLES}
    JOIN pg_attribute ON attrelid = one.oid AND attnum > 0 AND NOT attisdropped
    WHERE relkind IN ('i', 'r')
    """,
    f"""
    SELECT pg_restore_relation_stats(
        'schemaname', '{SCHEMA}', 'relname', relname::text, 'relpages', 45, 'reltuples', 0::real,
        'relallvisible', 0
    )
    {OF_TABLES}
    WHERE relkind IN ('i', 'r')
    """,
]

RECENTLY = "now() - n * interval '1 second'"
WORKFLOW = """
    INSERT INTO dbos_workflow (
        workflow_id, token, name, status, is_quarantined, queue_name, priority, queue_sequence,
        deduplication_id, input, output, executor_id, claim_number, recovery_attempts, parent_id,
        parent_step_number, wake_kind, wake_workflow_id, wake_name, wake_offset, due_at,
        deadline_at, created_at, started_at, finished_at
    )
    SELECT
        {id}, gen_random_uuid(), 'shop.work', '{status}', false, 'queue-' || n % 2, n / 2 % 2,
        {place} + n, {deduplication_id}, '{{}}', {output}, {executor_id}, {claim_number}, 0,
        {parent_id}, {parent_step_number}, {wake_kind}, {wake_workflow_id}, {wake_name},
        {wake_offset}, {due_at}, {deadline_at}, {created_at}, {started_at}, {finished_at}
    FROM generate_series(0, {count} - 1) AS n
"""
DEFAULTS = dict.fromkeys(
    (
        "output", "executor_id", "parent_id", "parent_step_number", "wake_kind",
        "wake_workflow_id", "wake_name", "wake_offset", "due_at", "deadline_at", "started_at",
        "finished_at", "deduplication_id",
    ),
    "NULL",
)  # fmt: skip


def can_seem_empty(connection: Any) -> bool:
    """Return whether the server can be given statistics, as PostgreSQL 18 and newer can."""
    return bool(connection.info.server_version >= 180_000)


def _workflows(count: int, status: str, **columns: Any) -> str:
    values = {"claim_number": 0, "place": 1_000_000, "created_at": RECENTLY, **DEFAULTS, **columns}
    return WORKFLOW.format(count=count, status=status, **values)


LIVE_ROWS = [
    f"""
    INSERT INTO dbos_executor (
        executor_id, hostname, pid, is_inline, concurrency, has_lock, lock_key, lease, started_at,
        heartbeat_at
    )
    SELECT
        'executor-' || n, 'here', n, false, 100, n > 0, n, interval '1 day', now(), now()
    FROM generate_series(0, {len(EXECUTORS)} - 1) AS n
    """,
    _workflows(
        ENQUEUED,
        "ENQUEUED",
        id="'enqueued-' || n",
        deduplication_id="CASE WHEN n % 10 = 0 THEN 'enqueued-' || n END",
    ),
    _workflows(
        PENDING,
        "PENDING",
        id="'pending-' || n",
        executor_id=f"'executor-' || n % {len(EXECUTORS)}",
        claim_number=1,
        started_at="now()",
        deadline_at="CASE WHEN n % 3 = 0 THEN now() + (n + 1) * interval '1 hour' END",
    ),
    _workflows(
        WAITING,
        "WAITING",
        id="'waiting-' || n",
        claim_number=2,
        wake_kind="(ARRAY['message', 'event', 'result', 'stream'])[n % 4 + 1]",
        # Readers wait for streams of active workflows: an end would wake them.
        wake_workflow_id=f"""
            CASE
                WHEN n % 4 = 0 THEN 'waiting-'
                WHEN n % 4 = 3 AND n >= {PENDING} THEN 'enqueued-'
                ELSE 'pending-'
            END || n
        """,
        wake_name="(ARRAY['', 'state', '', 'progress'])[n % 4 + 1]",
        # Each stream has three entries.
        wake_offset="CASE n % 4 WHEN 3 THEN 3 END",
        due_at="CASE WHEN n % 2 = 0 THEN now() + n * interval '1 hour' END",
        started_at="now()",
    ),
    _workflows(
        ANY,
        "WAITING",
        id="'any-' || n",
        claim_number=2,
        wake_kind="'any'",
        wake_workflow_id="'any-' || n",
        wake_name="'several things'",
        started_at="now()",
    ),
    f"""
    INSERT INTO dbos_wake (
        workflow_id, part, claim_number, wake_kind, wake_workflow_id, wake_name, wake_offset
    )
    SELECT
        'any-' || n, part, 2, (ARRAY['message', 'event', 'result', 'failures'])[part + 1],
        CASE WHEN part IN (1, 2) THEN 'pending-' ELSE 'any-' END || n,
        (ARRAY['', 'state', '', '1'])[part + 1], 0
    FROM generate_series(0, {ANY} - 1) AS n, generate_series(0, {PARTS} - 1) AS part
    """,
    """
    INSERT INTO dbos_queue (
        name, concurrency, worker_concurrency, rate_count, rate_period, partition_concurrency,
        partition_rate_count, partition_rate_period, is_managed, updated_at
    )
    VALUES ('managed', 100000, 10000, 5000, 60, 10, 2000, 60, true, now())
    """,
    _workflows(KEYED, "ENQUEUED", id="'keyed-' || n"),
    _workflows(
        PLACES,
        "PENDING",
        id="'placed-' || n",
        executor_id=f"'executor-' || n % {len(EXECUTORS)}",
        claim_number=1,
        started_at="now()",
    ),
    f"""
    UPDATE dbos_workflow
    SET queue_name = 'managed',
        partition_key = CASE WHEN status = 'PENDING' OR priority = 1 THEN '' ELSE
            'key-' || queue_sequence % {KEYS} END,
        place = (status = 'PENDING')::int
    WHERE workflow_id LIKE 'keyed-%' OR workflow_id LIKE 'placed-%'
    """,
    # The window of the queue, and starts that have left it.
    """
    INSERT INTO dbos_queue_start (queue_name, partition_key, last_at, count)
    SELECT 'managed', '', now() - n * interval '1 second', 2 FROM generate_series(1, 5000) AS n
    """,
    _workflows(DELAYED, "DELAYED", id="'delayed-' || n", due_at="now() + n * interval '1 minute'"),
    # The checkpoints of each active workflow: two steps, and its current wait.
    """
    INSERT INTO dbos_checkpoint (
        workflow_id, step_number, step_name, state, output, record_order, claim_number, attempts,
        deadline_at, recorded_at
    )
    SELECT workflow_id, step, 'step', (step = 3)::int, '1', step, 1, 1, due_at, now()
    FROM dbos_workflow, generate_series(1, 3) AS step
    WHERE status IN ('PENDING', 'WAITING')
    """,
    """
    INSERT INTO dbos_stream_entry (
        workflow_id, key, "offset", value, is_end, step_number, write_id, created_at
    )
    SELECT workflow_id, 'progress', n, '1', false, 1, gen_random_uuid(), now()
    FROM dbos_workflow, generate_series(0, 2) AS n
    WHERE status = 'PENDING'
    """,
    """
    INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
    SELECT workflow_id, 'progress', '1', 1, now() FROM dbos_workflow WHERE status = 'PENDING'
    """,
    # One workflow has consumed many messages, and each workflow has one to consume.
    """
    INSERT INTO dbos_message (
        workflow_id, topic, message, created_at, consumed_at, consumed_step_number
    )
    SELECT 'pending-0', 'topic', '1', now(), now(), n FROM generate_series(1, 2000) AS n
    """,
    """
    INSERT INTO dbos_message (workflow_id, topic, message, created_at)
    SELECT workflow_id, 'topic', '1', now() FROM dbos_workflow WHERE status = 'PENDING'
    """,
]
FINISHED = [
    _workflows(
        WORKFLOWS,
        "SUCCESS",
        id="'old-' || n",
        place=0,
        output="'1'",
        claim_number=2,
        deduplication_id="CASE WHEN n % 10 = 0 THEN 'old-' || n END",
        parent_id="CASE WHEN n % 4 = 0 THEN 'old-' || n + 1 END",
        parent_step_number="CASE WHEN n % 4 = 0 THEN 1 END",
        deadline_at="CASE WHEN n % 10 = 0 THEN now() - interval '1 day' END",
        created_at="now() - interval '30 days' + n * interval '10 seconds'",
        started_at="now() - interval '1 day'",
        finished_at="now() - interval '1 day'",
    ),
    "UPDATE dbos_workflow SET status = 'ERROR', error = '{{}}' WHERE workflow_id LIKE 'old-%7'",
    """
    UPDATE dbos_workflow
    SET schedule_name = 'nightly', scheduled_at = created_at
    WHERE workflow_id LIKE 'old-%9'
    """,
    f"""
    INSERT INTO dbos_checkpoint (
        workflow_id, step_number, step_name, state, output, record_order, claim_number, attempts,
        recorded_at
    )
    SELECT 'old-' || n, step, 'step', 0, '1', step, 1, 1, now()
    FROM generate_series(0, {WORKFLOWS} - 1) AS n, generate_series(1, {CHECKPOINTS_EACH}) AS step
    """,
    f"""
    INSERT INTO dbos_message (
        workflow_id, topic, message, idempotency_key, created_at, consumed_at, consumed_step_number
    )
    SELECT
        'old-' || n, 'topic', '1', CASE WHEN n % 10 = 0 THEN n::text END, now(),
        CASE WHEN n % 100 > 0 THEN now() END, 1
    FROM generate_series(0, {WORKFLOWS} - 1) AS n
    """,
    f"""
    INSERT INTO dbos_event (workflow_id, key, value, version, updated_at)
    SELECT 'old-' || n, 'progress', '1', 1, now() FROM generate_series(0, {WORKFLOWS} - 1) AS n
    """,
    f"""
    INSERT INTO dbos_event_version (
        workflow_id, key, version, value, step_number, write_id, created_at
    )
    SELECT 'old-' || n, 'progress', 1, '1', 1, gen_random_uuid(), now()
    FROM generate_series(0, {WORKFLOWS} - 1) AS n
    """,
    f"""
    INSERT INTO dbos_stream_entry (
        workflow_id, key, "offset", value, is_end, step_number, write_id, created_at
    )
    SELECT 'old-' || n, 'progress', m, '1', m = 1, 1, gen_random_uuid(), now()
    FROM generate_series(0, {WORKFLOWS} - 1) AS n, generate_series(0, 1) AS m
    """,
    f"""
    INSERT INTO dbos_past_run (
        workflow_id, run_number, input, steps_before, steps, started_at, ended_at
    )
    SELECT 'old-' || n, m, '{{{{}}}}', m - 1, 1, now() - interval '1 day', now() - interval '1 day'
    FROM generate_series(0, {WORKFLOWS} - 1) AS n, generate_series(1, 2) AS m
    """,
    # Cancelled workflows leave what they waited for.
    f"""
    INSERT INTO dbos_wake (
        workflow_id, part, claim_number, wake_kind, wake_workflow_id, wake_name
    )
    SELECT 'old-' || n, part, 1, 'message', 'old-' || n, 'topic'
    FROM generate_series(0, {WORKFLOWS} / 10) AS n, generate_series(0, 1) AS part
    """,
    f"""
    INSERT INTO dbos_inquiry (
        kind, workflow_id, token, step_number, secret, topic, created_at, answered_at
    )
    SELECT 'form', 'old-' || n, gen_random_uuid(), 1, gen_random_uuid(), 'topic', now(),
        -- A workflow that was cancelled leaves its question unanswered.
        CASE WHEN n % 10 > 0 THEN now() END
    FROM generate_series(0, {WORKFLOWS} - 1) AS n
    """,
]
