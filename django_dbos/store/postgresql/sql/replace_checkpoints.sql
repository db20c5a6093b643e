-- Record the outcomes of waits and of steps that were tried again: the only checkpoints that ever
-- change. ANY: see finish_workflows.
UPDATE dbos_checkpoint AS checkpoint
SET state = step.state,
    output = step.output,
    error = step.error,
    attempts = step.attempts,
    attempt_errors = step.attempt_errors,
    record_order = step.record_order,
    claim_number = step.claim_number,
    recorded_at = clock_timestamp()
FROM unnest(
    %(workflow_id)s::text[], %(step_number)s::int[], %(state)s::int[], %(output)s::text[],
    %(error)s::text[], %(attempts)s::int[], %(attempt_errors)s::text[], %(record_order)s::int[],
    %(claim_number)s::int[]
) AS step (
    workflow_id, step_number, state, output, error, attempts, attempt_errors, record_order,
    claim_number
)
WHERE checkpoint.workflow_id = ANY(ARRAY[step.workflow_id])
  AND checkpoint.step_number = step.step_number
  AND checkpoint.state = 1
