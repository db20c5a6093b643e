UPDATE dbos_workflow
SET status = 'CANCELLED',
    claim_number = claim_number + 1,
    executor_id = NULL,
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    finished_at = %(now)s
WHERE workflow_id IN (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING') AND deadline_at <= %(now)s
    ORDER BY deadline_at
    LIMIT %(limit)s
)
RETURNING workflow_id
