-- Record that steps failed, how many attempts they had, and when the next attempt may begin.
INSERT INTO dbos_checkpoint AS checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, related_workflow_id,
    record_order, claim_number, attempts, attempt_errors, deadline_at, started_at, recorded_at
)
SELECT
    step.workflow_id, step.step_number, step.step_name, 1, step.fingerprint, step.output,
    step.related_workflow_id, step.record_order,
    step.claim_number, step.attempts, step.attempt_errors,
    clock_timestamp() + make_interval(secs => step.timeout),
    clock_timestamp() - make_interval(secs => step.duration), clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(step_number)s::int[], %(step_name)s::text[],
    %(fingerprint)s::text[], %(output)s::text[], %(related_workflow_id)s::text[],
    %(record_order)s::int[], %(claim_number)s::int[], %(attempts)s::int[],
    %(attempt_errors)s::text[], %(timeout)s::float8[], %(duration)s::float8[]
) AS step (
    workflow_id, step_number, step_name, fingerprint, output, related_workflow_id, record_order,
    claim_number, attempts, attempt_errors, timeout, duration
)
ON CONFLICT (workflow_id, step_number) DO UPDATE
SET output = excluded.output,
    attempts = excluded.attempts,
    attempt_errors = excluded.attempt_errors,
    deadline_at = excluded.deadline_at,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
WHERE checkpoint.state = 1
