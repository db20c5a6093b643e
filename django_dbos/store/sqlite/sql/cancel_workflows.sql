-- Cancel active workflows.
UPDATE dbos_workflow
SET status = 'CANCELLED',
    -- include: raise_claim_number
    -- include: keep_place
    -- include: forget_wait
    finished_at = %(now)s
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
RETURNING
    workflow_id,
    -- include: freed_queue
