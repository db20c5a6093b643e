-- Change when a delayed workflow is due.
UPDATE dbos_workflow
SET due_at = %(due_at)s
WHERE workflow_id = %(workflow_id)s AND status = 'DELAYED'
RETURNING workflow_id
