-- Delete the history of a workflow from a step on.
DELETE FROM dbos_checkpoint
WHERE workflow_id = %(workflow_id)s AND step_number >= %(step_number)s
