UPDATE dbos_workflow
SET status = 'ENQUEUED',
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    queue_sequence = %(position)s
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'WAITING') AND due_at <= %(now)s
    ORDER BY due_at
    LIMIT %(limit)s
)
RETURNING queue_name, priority
