-- Start a debounced workflow, or give the one that is still delayed the arguments and options of
-- this call; nothing is returned if that one belongs to another user. A row that is being enqueued
-- or changed by another transaction is waited for, and judged as that has left it.
INSERT INTO dbos_workflow AS workflow (
    workflow_id, token, name, version, status, queue_name, priority, queue_sequence, partition_key,
    debounce_key, debounce_until, input, user_id, attributes, traceparent, claim_number,
    max_recovery_attempts,
    parent_id, parent_step_number, due_at, timeout, deadline_at, created_at
)
VALUES (
    %(workflow_id)s::text, %(token)s::uuid, %(name)s::text, %(version)s::text, 'DELAYED', %(queue_name)s::text,
    %(priority)s::int, nextval('dbos_queue_sequence'), %(partition_key)s::text,
    %(debounce_key)s::text, clock_timestamp() + make_interval(secs => %(max_delay)s::float8),
    %(input)s::text, %(user_id)s::text, %(attributes)s::jsonb, %(traceparent)s::text, 0, %(max_recovery_attempts)s::int,
    %(parent_id)s::text, %(parent_step_number)s::int,
    clock_timestamp() + make_interval(secs => %(delay)s::float8), %(timeout)s::interval,
    (
        SELECT deadline_at
        FROM dbos_workflow
        WHERE workflow_id = %(parent_id)s::text
          AND %(timeout)s::interval IS NULL
          AND %(inherits_deadline)s::bool
    ),
    clock_timestamp()
)
ON CONFLICT (name, debounce_key) WHERE debounce_key IS NOT NULL AND status = 'DELAYED' DO UPDATE
SET version = excluded.version,
    queue_name = excluded.queue_name,
    priority = excluded.priority,
    partition_key = excluded.partition_key,
    input = excluded.input,
    user_id = excluded.user_id,
    attributes = excluded.attributes,
    traceparent = excluded.traceparent,
    max_recovery_attempts = excluded.max_recovery_attempts,
    timeout = excluded.timeout,
    deadline_at = excluded.deadline_at,
    -- least() passes over NULL, which is no limit.
    debounce_until = least(workflow.debounce_until, excluded.debounce_until),
    due_at = least(
        clock_timestamp() + make_interval(secs => %(delay)s::float8),
        workflow.debounce_until,
        excluded.debounce_until
    )
WHERE coalesce(workflow.user_id = excluded.user_id, true)
RETURNING workflow.workflow_id
