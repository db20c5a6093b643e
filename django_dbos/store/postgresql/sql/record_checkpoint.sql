-- Records one step, as record_checkpoints does any number: without arrays it takes two thirds of
-- the time.
WITH held AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND claim_number = %(claim_number)s
      AND coalesce(status = 'PENDING' AND executor_id = %(executor_id)s, false)
      AND (deadline_at IS NULL OR deadline_at > clock_timestamp())
    FOR SHARE SKIP LOCKED
)
INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number, attempts, started_at, recorded_at
)
SELECT
    held.workflow_id, %(step_number)s, %(step_name)s, 0, %(fingerprint)s, %(output)s, %(error)s,
    %(related_workflow_id)s, %(record_order)s, %(claim_number)s, %(attempts)s,
    clock_timestamp() - make_interval(secs => %(duration)s), clock_timestamp()
FROM held
ON CONFLICT DO NOTHING
RETURNING workflow_id, step_number
