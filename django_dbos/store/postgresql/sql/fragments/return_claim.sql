-- The columns that a claim returns.
RETURNING
    -- columns: workflow.claim,
    (extract(epoch FROM workflow.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining,
    workflow.claim_number > 1 AS has_history, workflow.queue_sequence
