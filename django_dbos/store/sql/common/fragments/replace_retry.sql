-- The outcome replaces the record of when the next attempt is due.
ON CONFLICT (workflow_id, step_number) DO UPDATE
SET state = 0,
    output = excluded.output,
    error = excluded.error,
    attempts = excluded.attempts,
    record_order = excluded.record_order,
    claim_number = excluded.claim_number,
    recorded_at = excluded.recorded_at
