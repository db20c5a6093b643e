-- Return the name of each of these queues, how many workflows are enqueued, run and hold places, and
-- the age in seconds of the oldest that never ran. No count exceeds `most`.
SELECT
    -- include: queue_counts
    (
        SELECT (julianday('now') - julianday(min(created_at))) * 86400.0
        FROM (
            SELECT created_at
            FROM dbos_workflow
            WHERE status = 'ENQUEUED' AND queue_name = queue.name AND started_at IS NULL
            LIMIT %(most)s
        ) AS counted
    ) AS oldest
FROM (SELECT value AS name FROM json_each(%(names)s)) AS queue
