-- End workflows that this executor holds: the fence and the rows in one statement. A workflow that
-- isn't returned was not ended; the caller finds out why. after_step is the last checkpoint that
-- the run wrote in the same transaction; without it the run must not end.
WITH held AS MATERIALIZED (
    -- include: held_workflows
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE dbos_workflow AS workflow
SET status = ended.status,
    output = ended.output,
    error = ended.error,
    claim_number = workflow.claim_number + 1,
    place = 0,
    executor_id = NULL,
    finished_at = clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(claim_number)s::int[], %(status)s::text[], %(output)s::text[],
    %(error)s::text[], %(after_step)s::int[]
) AS ended (workflow_id, claim_number, status, output, error, after_step)
JOIN held ON held.workflow_id = ended.workflow_id AND held.claim_number = ended.claim_number
LEFT JOIN LATERAL (
    SELECT true AS is_there
    FROM dbos_checkpoint
    WHERE workflow_id = ended.workflow_id AND step_number = ended.after_step
    OFFSET 0
) AS recorded ON true
-- ANY: see finish_workflows.
WHERE workflow.workflow_id = ANY(ARRAY[held.workflow_id])
  AND (ended.after_step IS NULL OR recorded.is_there)
RETURNING workflow.workflow_id, held.claim_number
