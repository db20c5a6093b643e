-- End workflows that this executor holds: the fence and the rows in one statement.
UPDATE dbos_workflow AS workflow
SET status = ended.status,
    output = ended.output,
    error = ended.error,
    claim_number = workflow.claim_number + 1,
    place = 0,
    executor_id = NULL,
    finished_at = %(now)s
FROM (
    WITH one (workflow_id, claim_number, status, output, error) AS (
        VALUES (%(workflow_id)s, %(claim_number)s, %(status)s, %(output)s, %(error)s)
    )
    SELECT * FROM one
) AS ended
WHERE workflow.workflow_id = ended.workflow_id
  AND workflow.claim_number = ended.claim_number
  -- include: fence
