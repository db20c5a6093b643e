-- Quarantine a workflow that fails a statement for many; it is enqueued, or this executor has
-- claimed it.
UPDATE dbos_workflow
SET status = 'ERROR',
    is_quarantined = 1,
    output = NULL,
    error = %(error)s,
    -- include: give_up_claim
    -- include: forget_wait
    finished_at = %(now)s
WHERE workflow_id = %(workflow_id)s
  AND (status = 'ENQUEUED' OR status = 'PENDING' AND executor_id = %(executor_id)s)
RETURNING workflow_id
