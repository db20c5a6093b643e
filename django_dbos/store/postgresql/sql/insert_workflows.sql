-- Enqueue workflows; one whose id or deduplication id is taken inserts nothing. A child without a
-- timeout of its own inherits its parent's deadline, unless it is freed of it. An executor can't
-- claim it at once if its queue is managed: it needs a place, as all others do.
INSERT INTO dbos_workflow (
    workflow_id, token, name, version, status, queue_name, priority, queue_sequence, partition_key,
    deduplication_id, unique_until, schedule_name, scheduled_at, input, user_id, attributes,
    traceparent, executor_id, claim_number, max_recovery_attempts, parent_id, parent_step_number, wake_kind,
    wake_workflow_id, wake_name, due_at,
    timeout, deadline_at, created_at, started_at
)
SELECT
    new.workflow_id, new.token, new.name, new.version,
    CASE
        WHEN claimed.executor_id IS NOT NULL THEN 'PENDING'
        WHEN new.after IS NOT NULL THEN 'WAITING'
        WHEN due.at > clock_timestamp() THEN 'DELAYED'
        ELSE 'ENQUEUED'
    END,
    new.queue_name, new.priority, nextval('dbos_queue_sequence'), new.partition_key,
    new.deduplication_id, clock_timestamp() + new.unique_for, new.schedule_name, new.scheduled_at,
    new.input, new.user_id, new.attributes::jsonb, new.traceparent, claimed.executor_id,
    CASE WHEN claimed.executor_id IS NULL THEN 0 ELSE 1 END,
    new.max_recovery_attempts, new.parent_id, new.parent_step_number,
    CASE WHEN new.after IS NOT NULL THEN 'result' END,
    new.after,
    CASE WHEN new.after IS NOT NULL THEN '' END,
    CASE WHEN new.after IS NULL AND due.at > clock_timestamp() THEN due.at END,
    new.timeout,
    CASE
        WHEN claimed.executor_id IS NOT NULL AND new.timeout IS NOT NULL
            THEN clock_timestamp() + new.timeout
        WHEN new.timeout IS NULL AND new.inherits_deadline THEN parent.deadline_at
    END,
    clock_timestamp(),
    CASE WHEN claimed.executor_id IS NOT NULL THEN clock_timestamp() END
FROM unnest(
    %(workflow_id)s::text[], %(token)s::uuid[], %(name)s::text[], %(version)s::text[],
    %(queue_name)s::text[],
    %(priority)s::int[], %(partition_key)s::text[], %(deduplication_id)s::text[],
    %(unique_for)s::interval[], %(schedule_name)s::text[], %(scheduled_at)s::timestamptz[],
    %(input)s::text[], %(user_id)s::text[], %(attributes)s::text[], %(traceparent)s::text[],
    %(executor_id)s::text[],
    %(max_recovery_attempts)s::int[], %(parent_id)s::text[], %(parent_step_number)s::int[],
    %(delay)s::float8[], %(run_at)s::timestamptz[], %(timeout)s::interval[],
    %(inherits_deadline)s::bool[], %(after)s::text[]
) WITH ORDINALITY AS new (
    workflow_id, token, name, version, queue_name, priority, partition_key, deduplication_id, unique_for,
    schedule_name, scheduled_at, input, user_id, attributes, traceparent, executor_id,
    max_recovery_attempts,
    parent_id, parent_step_number, delay, run_at, timeout, inherits_deadline, after, position
)
CROSS JOIN LATERAL (
    SELECT coalesce(new.run_at, clock_timestamp() + make_interval(secs => new.delay)) AS at
) AS due
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN new.executor_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM dbos_queue AS queue WHERE queue.name = new.queue_name AND queue.is_managed
        ) THEN new.executor_id
    END AS executor_id
    OFFSET 0
) AS claimed
LEFT JOIN LATERAL (
    SELECT deadline_at FROM dbos_workflow WHERE workflow_id = new.parent_id OFFSET 0
) AS parent ON true
ORDER BY new.position
ON CONFLICT DO NOTHING
RETURNING workflow_id, status
