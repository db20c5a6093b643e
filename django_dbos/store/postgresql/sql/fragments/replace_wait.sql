ON CONFLICT (workflow_id, step_number) DO UPDATE
SET state = 0,
    output = excluded.output,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
-- The row is the deadline of this very wait.
WHERE checkpoint.state = 1 AND checkpoint.step_name = excluded.step_name
