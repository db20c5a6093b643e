-- Ends workflows that this executor holds: the fence and the rows in one statement.
-- One that isn't returned was not ended; the caller finds out why.
-- coalesce(): see lock_claims.
WITH held AS MATERIALIZED (
    SELECT workflow_id, claim_number
    FROM dbos_workflow
    WHERE workflow_id = ANY(%(workflow_id)s::text[])
      AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
      AND (deadline_at IS NULL OR deadline_at > clock_timestamp())
    ORDER BY workflow_id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE dbos_workflow AS workflow
SET status = ended.status,
    output = ended.output,
    error = ended.error,
    claim_number = workflow.claim_number + 1,
    executor_id = NULL,
    finished_at = clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(claim_number)s::int[], %(status)s::text[], %(output)s::text[],
    %(error)s::text[]
) AS ended (workflow_id, claim_number, status, output, error)
JOIN held ON held.workflow_id = ended.workflow_id AND held.claim_number = ended.claim_number
WHERE workflow.workflow_id = held.workflow_id
RETURNING workflow.workflow_id, held.claim_number
