-- The row of one workflow that this executor holds: see held_workflows.
SELECT workflow_id
FROM dbos_workflow
WHERE workflow_id = %(workflow_id)s
  AND claim_number = %(claim_number)s
  -- include: fence
