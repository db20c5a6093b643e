-- Quarantine a workflow that fails a statement for many; it is enqueued, or this executor has
-- claimed it.
UPDATE dbos_workflow
SET status = 'ERROR',
    is_quarantined = 1,
    output = NULL,
    error = %(error)s,
    -- include: raise_claim_number
    place = CASE WHEN status = 'PENDING' OR executor_id IS NULL THEN 0 ELSE place END,
    executor_id = CASE WHEN status <> 'PENDING' AND place > 0 THEN executor_id END,
    -- include: forget_wait
    finished_at = %(now)s
WHERE workflow_id = %(workflow_id)s
  AND (status = 'ENQUEUED' OR status = 'PENDING' AND executor_id = %(executor_id)s)
RETURNING
    workflow_id,
    -- include: freed_queue
