-- Enqueue one workflow at once. This statement is planned at each call, which takes a third of the
-- time of planning insert_workflows.
INSERT INTO dbos_workflow (
    workflow_id, token, name, version, status, queue_name, priority, queue_sequence, partition_key,
    deduplication_id, unique_until, schedule_name, scheduled_at, input, user_id, attributes,
    traceparent,
    claim_number, max_recovery_attempts, timeout, created_at
)
VALUES (
    %(workflow_id)s, %(token)s, %(name)s, %(version)s, 'ENQUEUED', %(queue_name)s, %(priority)s,
    nextval('dbos_queue_sequence'), %(partition_key)s, %(deduplication_id)s,
    clock_timestamp() + %(unique_for)s::interval, %(schedule_name)s, %(scheduled_at)s, %(input)s,
    %(user_id)s, %(attributes)s::jsonb, %(traceparent)s, 0, %(max_recovery_attempts)s, %(timeout)s,
    clock_timestamp()
)
ON CONFLICT DO NOTHING
