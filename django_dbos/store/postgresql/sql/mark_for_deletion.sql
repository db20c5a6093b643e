-- Mark finished workflows for deletion, in the transaction that deletes them. Those whose functions
-- still run hold places, and stay.
UPDATE dbos_workflow
SET finished_at = '-infinity'
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND status NOT IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
  AND place = 0
RETURNING workflow_id
