-- Return the claims that an executor holds.
SELECT workflow_id, claim_number
FROM dbos_workflow
WHERE status = 'PENDING' AND executor_id = %(executor_id)s
