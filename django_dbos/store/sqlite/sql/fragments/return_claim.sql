-- The columns that a claim returns. A cast: Django reads columns of instants as local ones.
RETURNING
    -- columns: claim,
    (julianday(deadline_at) - julianday(%(now)s)) * 86400.0 AS remaining,
    claim_number > 1 AS has_history,
    CAST(scheduled_at AS TEXT) AS scheduled_at,
    queue_sequence
