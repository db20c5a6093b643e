-- Delayed workflows whose time has come, and waits whose deadline has.
UPDATE dbos_workflow AS workflow
SET status = 'ENQUEUED',
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
FROM (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'WAITING') AND due_at <= clock_timestamp()
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) AS due
WHERE workflow.workflow_id = due.workflow_id
RETURNING workflow.queue_name, workflow.priority
