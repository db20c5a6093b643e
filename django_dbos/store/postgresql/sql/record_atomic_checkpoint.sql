-- The last statement of an atomic step's transaction: the checkpoint, if the claim still holds.
-- It waits for whoever is taking the claim away, and then records nothing.
-- coalesce(): see lock_claims.
WITH held AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND claim_number = %(claim_number)s
      AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
      AND (deadline_at IS NULL OR deadline_at > clock_timestamp())
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
-- In place of what says when it is to be tried again.
ON CONFLICT (workflow_id, step_number) DO UPDATE
SET state = 0,
    output = excluded.output,
    attempts = excluded.attempts,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
WHERE checkpoint.state = 1
RETURNING checkpoint.workflow_id
