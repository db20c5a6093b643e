-- Return the claims that an executor holds, and the places that linger with it: of workflows whose
-- claims were taken while their functions ran.
SELECT workflow_id, claim_number, status = 'PENDING' AS is_claimed, queue_name, place
FROM dbos_workflow
WHERE status = 'PENDING' AND executor_id = %(executor_id)s
UNION ALL
SELECT workflow_id, claim_number, status = 'PENDING' AS is_claimed, queue_name, place
FROM dbos_workflow
WHERE status <> 'PENDING' AND place > 0 AND executor_id = %(executor_id)s
