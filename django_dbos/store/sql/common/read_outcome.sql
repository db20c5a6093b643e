-- Return a workflow's status, and the outcome of an ended one.
SELECT status, output, error, recovery_attempts
FROM dbos_workflow
WHERE workflow_id = %(workflow_id)s
