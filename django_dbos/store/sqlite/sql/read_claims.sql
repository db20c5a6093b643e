-- Return the state of claims that the fence left out.
SELECT workflow_id, claim_number, status, executor_id
FROM dbos_workflow
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
