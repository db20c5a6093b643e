-- Return the checkpoint at one position of a workflow's history.
SELECT
    -- columns: checkpoint
FROM dbos_checkpoint
WHERE workflow_id = %(workflow_id)s AND step_number = %(step_number)s
