-- Record checkpoints of workflows whose rows the fence has locked.
INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number, attempts, deadline_at, started_at, recorded_at
)
SELECT
    step.workflow_id, step.step_number, step.step_name, step.state, step.fingerprint, step.output,
    step.error, step.related_workflow_id, step.record_order, step.claim_number, step.attempts,
    clock_timestamp() + make_interval(secs => step.timeout),
    clock_timestamp() - make_interval(secs => step.duration), clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(step_number)s::int[], %(step_name)s::text[], %(state)s::int[],
    %(fingerprint)s::text[], %(output)s::text[], %(error)s::text[], %(related_workflow_id)s::text[],
    %(record_order)s::int[], %(claim_number)s::int[], %(attempts)s::int[],
    %(timeout)s::float8[], %(duration)s::float8[]
) AS step (
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number, attempts, timeout, duration
)
ON CONFLICT DO NOTHING
