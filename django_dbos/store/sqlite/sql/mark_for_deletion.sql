-- Mark finished workflows for deletion, in the transaction that deletes them. Those whose functions
-- still run hold places, and stay.
UPDATE dbos_workflow
SET finished_at = '0001-01-01 00:00:00.000000'
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status NOT IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
  AND place = 0
RETURNING workflow_id
