-- Return the state of claims that the fence left out.
SELECT workflow_id, claim_number, status, executor_id
FROM dbos_workflow
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
