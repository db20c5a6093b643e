-- Return the statuses of workflows, and the outcomes of ended ones.
SELECT workflow_id, status, output, error, recovery_attempts
FROM dbos_workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
