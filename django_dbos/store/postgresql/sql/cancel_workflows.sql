-- Cancel active workflows.
UPDATE dbos_workflow
SET status = 'CANCELLED',
    -- include: raise_claim_number
    -- include: keep_place
    -- include: forget_wait
    finished_at = clock_timestamp()
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
RETURNING
    workflow_id,
    -- include: freed_queue
