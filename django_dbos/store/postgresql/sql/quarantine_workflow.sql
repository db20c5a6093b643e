-- Quarantine a workflow that fails a statement for many; it is enqueued, or this executor has
-- claimed it. A row that an open transaction has locked is left alone. Found by key alone: see
-- held_here.
UPDATE dbos_workflow
SET status = 'ERROR',
    is_quarantined = true,
    output = NULL,
    error = %(error)s,
    -- include: raise_claim_number
    place = CASE WHEN status = 'PENDING' OR executor_id IS NULL THEN 0 ELSE place END,
    executor_id = CASE WHEN status <> 'PENDING' AND place > 0 THEN executor_id END,
    -- include: forget_wait
    finished_at = clock_timestamp()
WHERE workflow_id = (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND coalesce(
          status = 'ENQUEUED' OR status = 'PENDING' AND executor_id = %(executor_id)s, false
      )
    FOR UPDATE SKIP LOCKED
)
RETURNING
    workflow_id,
    -- include: freed_queue
