-- Record an atomic step, as the last statement of its transaction, if the claim still holds.
INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, record_order, claim_number,
    attempts, started_at, recorded_at
)
SELECT
    workflow_id, %(step_number)s, %(step_name)s, 0, %(fingerprint)s, %(output)s,
    %(record_order)s, %(claim_number)s, %(attempts)s, %(started_at)s, %(now)s
FROM dbos_workflow AS workflow
WHERE workflow_id = %(workflow_id)s
  AND claim_number = %(claim_number)s
  -- include: fence
ON CONFLICT (workflow_id, step_number) DO UPDATE
SET state = 0,
    output = excluded.output,
    attempts = excluded.attempts,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
WHERE dbos_checkpoint.state = 1
RETURNING workflow_id
