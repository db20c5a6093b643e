-- Record checkpoints of workflows whose rows the fence has locked.
INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, output, error, related_workflow_id,
    record_order, claim_number, attempts, deadline_at, started_at, recorded_at
)
VALUES (
    %(workflow_id)s, %(step_number)s, %(step_name)s, %(state)s, %(fingerprint)s, %(output)s,
    %(error)s, %(related_workflow_id)s, %(record_order)s, %(claim_number)s, %(attempts)s,
    %(deadline_at)s, %(started_at)s, %(now)s
)
ON CONFLICT DO NOTHING
