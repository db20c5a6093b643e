-- Enqueue a workflow; one whose id or deduplication id is taken inserts nothing. A child without a
-- timeout of its own inherits its parent's deadline, unless it is freed of it.
INSERT INTO dbos_workflow (
    workflow_id, token, name, version, status, queue_name, priority, queue_sequence, partition_key,
    deduplication_id, unique_until, schedule_name, scheduled_at, input, user_id, attributes,
    traceparent,
    executor_id, claim_number, max_recovery_attempts, parent_id, parent_step_number, wake_kind,
    wake_workflow_id, wake_name, due_at,
    timeout, deadline_at, created_at, started_at
)
VALUES (
    %(workflow_id)s, %(token)s, %(name)s, %(version)s,
    CASE
        WHEN %(executor_id)s IS NOT NULL THEN 'PENDING'
        WHEN %(after)s IS NOT NULL THEN 'WAITING'
        WHEN %(due_at)s > %(now)s THEN 'DELAYED'
        ELSE 'ENQUEUED'
    END,
    %(queue_name)s, %(priority)s, %(queue_sequence)s, %(partition_key)s,
    %(deduplication_id)s, %(unique_until)s, %(schedule_name)s, %(scheduled_at)s, %(input)s,
    %(user_id)s, %(attributes)s, %(traceparent)s, %(executor_id)s,
    CASE WHEN %(executor_id)s IS NULL THEN 0 ELSE 1 END,
    %(max_recovery_attempts)s, %(parent_id)s, %(parent_step_number)s,
    CASE WHEN %(after)s IS NOT NULL THEN 'result' END,
    %(after)s,
    CASE WHEN %(after)s IS NOT NULL THEN '' END,
    CASE WHEN %(after)s IS NULL AND %(due_at)s > %(now)s THEN %(due_at)s END,
    %(timeout)s,
    coalesce(
        %(deadline_at)s,
        (
            SELECT deadline_at
            FROM dbos_workflow
            WHERE workflow_id = %(parent_id)s AND %(timeout)s IS NULL AND %(inherits_deadline)s
        )
    ),
    %(now)s,
    CASE WHEN %(executor_id)s IS NOT NULL THEN %(now)s END
)
ON CONFLICT DO NOTHING
RETURNING workflow_id, status
