UPDATE dbos_workflow
SET status = 'CANCELLED',
    claim_number = claim_number + 1,
    executor_id = NULL,
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    finished_at = %(now)s
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
RETURNING workflow_id
