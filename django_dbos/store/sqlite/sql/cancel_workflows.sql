-- Cancel active workflows.
UPDATE dbos_workflow
SET status = 'CANCELLED',
    -- include: give_up_claim
    -- include: forget_wait
    finished_at = %(now)s
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
RETURNING workflow_id
