-- Cancel active workflows.
UPDATE dbos_workflow
SET status = 'CANCELLED',
    -- include: give_up_claim
    -- include: forget_wait
    finished_at = clock_timestamp()
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
RETURNING workflow_id
