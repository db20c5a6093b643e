-- Return the name of each of these queues, how many workflows are enqueued, run and hold places, and
-- the age in seconds of the oldest that never ran. No count exceeds `most`.
SELECT
    -- include: queue_counts
    (
        SELECT extract(epoch FROM clock_timestamp() - min(created_at))::float8
        FROM (
            SELECT created_at
            FROM dbos_workflow
            WHERE status = 'ENQUEUED' AND queue_name = queue.name AND started_at IS NULL
            LIMIT %(most)s
        ) AS counted
    ) AS oldest
FROM unnest(%(names)s::text[]) AS queue (name)
