-- Takes out one that fails what is done with many at once; enqueued, or claimed by this executor.
UPDATE dbos_workflow
SET status = 'ERROR',
    is_quarantined = 1,
    output = NULL,
    error = %(error)s,
    claim_number = claim_number + 1,
    executor_id = NULL,
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    finished_at = %(now)s
WHERE workflow_id = %(workflow_id)s
  AND (status = 'ENQUEUED' OR status = 'PENDING' AND executor_id = %(executor_id)s)
RETURNING workflow_id
