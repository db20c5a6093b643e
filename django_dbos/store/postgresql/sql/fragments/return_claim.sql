-- The columns that a claim returns. An instant is a text in UTC: the driver's may be local, and
-- naive.
RETURNING
    -- columns: workflow.claim,
    (extract(epoch FROM workflow.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining,
    workflow.claim_number > 1 AS has_history,
    to_char(workflow.scheduled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') AS scheduled_at,
    workflow.queue_sequence
