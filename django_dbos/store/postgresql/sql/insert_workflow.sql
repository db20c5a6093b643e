-- Enqueue one workflow at once. This statement is planned at each call, which takes a third of the
-- time of planning insert_workflows.
INSERT INTO dbos_workflow (
    workflow_id, token, name, status, queue_name, priority, queue_sequence, deduplication_id,
    input, user_id, attributes, claim_number, max_recovery_attempts, timeout, created_at
)
VALUES (
    %(workflow_id)s, %(token)s, %(name)s, 'ENQUEUED', %(queue_name)s, %(priority)s,
    nextval('dbos_queue_sequence'), %(deduplication_id)s, %(input)s, %(user_id)s,
    %(attributes)s::jsonb, 0, %(max_recovery_attempts)s, %(timeout)s, clock_timestamp()
)
ON CONFLICT DO NOTHING
