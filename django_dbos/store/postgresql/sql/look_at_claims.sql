-- What became of claims that the fence did not find.
SELECT workflow_id, claim_number, status, executor_id
FROM dbos_workflow
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
