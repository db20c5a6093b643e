-- Delete the rows here of a workflow that is gone, unless there is one with its id again.
DELETE FROM dbos_message
WHERE workflow_id = %(workflow_id)s
  AND NOT EXISTS (
      SELECT 1 FROM dbos_workflow AS owner WHERE owner.workflow_id = %(workflow_id)s
  )
RETURNING 1
