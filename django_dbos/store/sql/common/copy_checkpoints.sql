-- Give a fork the outcomes that the original recorded before a step. Its own claims begin at 1.
INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number, attempts, attempt_errors, deadline_at, started_at, recorded_at
)
SELECT
    %(workflow_id)s, step_number, step_name, state, fingerprint, output, error,
    related_workflow_id, record_order, 0, attempts, attempt_errors, deadline_at, started_at,
    recorded_at
FROM dbos_checkpoint
WHERE workflow_id = %(source_id)s AND step_number < %(step_number)s AND state <> 1
