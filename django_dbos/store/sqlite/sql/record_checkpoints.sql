-- Record steps of workflows that this executor holds: the fence and the rows in one statement.
-- include: into_checkpoints_of_steps
WITH step (
    workflow_id, claim_number, step_number, step_name, fingerprint, output, error,
    related_workflow_id, record_order, attempts, started_at
) AS (
    VALUES (
        %(workflow_id)s, %(claim_number)s, %(step_number)s, %(step_name)s, %(fingerprint)s,
        %(output)s, %(error)s, %(related_workflow_id)s, %(record_order)s, %(attempts)s,
        %(started_at)s
    )
)
SELECT
    step.workflow_id, step.step_number, step.step_name, 0, step.fingerprint, step.output,
    step.error, step.related_workflow_id, step.record_order, step.claim_number, step.attempts,
    step.started_at, %(now)s
FROM step
CROSS JOIN dbos_workflow AS workflow
WHERE workflow.workflow_id = step.workflow_id
  AND workflow.claim_number = step.claim_number
  -- include: fence
ON CONFLICT DO NOTHING
