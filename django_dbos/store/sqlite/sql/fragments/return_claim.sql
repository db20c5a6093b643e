-- The columns that a claim returns.
RETURNING
    -- columns: claim,
    (julianday(deadline_at) - julianday(%(now)s)) * 86400.0 AS remaining,
    claim_number > 1 AS has_history, queue_sequence
