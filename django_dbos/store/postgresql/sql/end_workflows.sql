-- Ends workflows that this executor holds: the fence and the rows in one statement.
-- One that isn't returned was not ended; the caller finds out why.
-- after_step: what the run wrote last, in the same transaction; without that it must not end.
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
    %(error)s::text[], %(after_step)s::int[]
) AS ended (workflow_id, claim_number, status, output, error, after_step)
JOIN held ON held.workflow_id = ended.workflow_id AND held.claim_number = ended.claim_number
LEFT JOIN LATERAL (
    SELECT true AS is_there
    FROM dbos_checkpoint
    WHERE workflow_id = ended.workflow_id AND step_number = ended.after_step
    OFFSET 0
) AS recorded ON true
WHERE workflow.workflow_id = held.workflow_id
  AND (ended.after_step IS NULL OR recorded.is_there)
RETURNING workflow.workflow_id, held.claim_number
