-- Record steps of workflows that this executor holds: the fence and the rows in one statement. A
-- step that isn't returned was not recorded; the caller finds out why.
WITH held AS MATERIALIZED (
    -- include: held_workflows
    FOR SHARE SKIP LOCKED
)
-- include: into_checkpoints_of_steps
SELECT
    step.workflow_id, step.step_number, step.step_name, 0, step.fingerprint, step.output,
    step.error, step.related_workflow_id, step.record_order, step.claim_number, step.attempts,
    clock_timestamp() - make_interval(secs => step.duration), clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(step_number)s::int[], %(step_name)s::text[],
    %(fingerprint)s::text[], %(output)s::text[], %(error)s::text[], %(related_workflow_id)s::text[],
    %(record_order)s::int[], %(claim_number)s::int[], %(attempts)s::int[], %(duration)s::float8[]
) AS step (
    workflow_id, step_number, step_name, fingerprint, output, error, related_workflow_id,
    record_order, claim_number, attempts, duration
)
JOIN held ON held.workflow_id = step.workflow_id AND held.claim_number = step.claim_number
ON CONFLICT DO NOTHING
RETURNING workflow_id, step_number
