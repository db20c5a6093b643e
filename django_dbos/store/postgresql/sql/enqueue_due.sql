-- Delayed workflows whose time has come, and waits whose deadline has.
-- An array: see claim_workflows. The time as a subquery: only so can the index look it up.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'WAITING') AND due_at <= (SELECT clock_timestamp())
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING queue_name, priority
