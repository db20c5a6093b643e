-- Record that steps failed, how many attempts they had, and when the next attempt may begin.
INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, related_workflow_id,
    record_order, claim_number, attempts, attempt_errors, deadline_at, started_at, recorded_at
)
VALUES (
    %(workflow_id)s, %(step_number)s, %(step_name)s, 1, %(fingerprint)s, %(output)s,
    %(related_workflow_id)s, %(record_order)s, %(claim_number)s, %(attempts)s, %(attempt_errors)s,
    %(deadline_at)s, %(started_at)s, %(now)s
)
ON CONFLICT (workflow_id, step_number) DO UPDATE
SET output = excluded.output,
    attempts = excluded.attempts,
    attempt_errors = excluded.attempt_errors,
    deadline_at = excluded.deadline_at,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
WHERE state = 1
