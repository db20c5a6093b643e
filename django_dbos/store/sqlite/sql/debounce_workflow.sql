-- Start a debounced workflow, or give the one that is still delayed the arguments and options of
-- this call; nothing is returned if that one belongs to another user.
INSERT INTO dbos_workflow AS workflow (
    workflow_id, token, name, version, status, queue_name, priority, queue_sequence, partition_key,
    debounce_key, debounce_until, input, user_id, attributes, traceparent, claim_number,
    max_recovery_attempts,
    parent_id, parent_step_number, due_at, timeout, deadline_at, created_at
)
VALUES (
    %(workflow_id)s, %(token)s, %(name)s, %(version)s, 'DELAYED', %(queue_name)s, %(priority)s,
    %(queue_sequence)s, %(partition_key)s, %(debounce_key)s, %(debounce_until)s, %(input)s,
    %(user_id)s, %(attributes)s, %(traceparent)s, 0, %(max_recovery_attempts)s, %(parent_id)s,
    %(parent_step_number)s, %(due_at)s, %(timeout)s,
    (
        SELECT deadline_at
        FROM dbos_workflow
        WHERE workflow_id = %(parent_id)s AND %(timeout)s IS NULL AND %(inherits_deadline)s
    ),
    %(now)s
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
    -- min() of a NULL, which is no limit, would be NULL.
    debounce_until = min(
        coalesce(workflow.debounce_until, excluded.debounce_until),
        coalesce(excluded.debounce_until, workflow.debounce_until)
    ),
    due_at = min(
        excluded.due_at,
        coalesce(workflow.debounce_until, excluded.due_at),
        coalesce(excluded.debounce_until, excluded.due_at)
    )
WHERE coalesce(workflow.user_id = excluded.user_id, true)
RETURNING workflow_id
