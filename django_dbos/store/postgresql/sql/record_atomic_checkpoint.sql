-- Record an atomic step, as the last statement of its transaction, if the claim still holds. The
-- statement waits for a transaction that is taking the claim away, and then records nothing.
WITH held AS MATERIALIZED (
    -- include: held_workflow
    FOR SHARE
)
INSERT INTO dbos_checkpoint AS checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number, attempts, started_at, recorded_at
)
SELECT
    held.workflow_id, %(step_number)s, %(step_name)s, 0, %(fingerprint)s, %(output)s, NULL, NULL,
    %(record_order)s, %(claim_number)s, %(attempts)s,
    clock_timestamp() - make_interval(secs => %(duration)s), clock_timestamp()
FROM held
ON CONFLICT (workflow_id, step_number) DO UPDATE
SET state = 0,
    output = excluded.output,
    attempts = excluded.attempts,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
WHERE checkpoint.state = 1
RETURNING checkpoint.workflow_id
