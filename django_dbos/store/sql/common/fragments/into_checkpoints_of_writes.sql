INSERT INTO dbos_checkpoint (
    workflow_id, step_number, step_name, state, fingerprint, record_order, claim_number,
    started_at, recorded_at
)
