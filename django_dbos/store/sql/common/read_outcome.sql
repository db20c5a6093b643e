-- How a workflow stands, and what it ended with.
SELECT status, output, error, recovery_attempts
FROM dbos_workflow
WHERE workflow_id = %(workflow_id)s
