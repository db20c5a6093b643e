-- Return the lanes that have workflows enqueued: a walk from lane to lane in the partial index,
-- however many rows each holds.
WITH RECURSIVE lane AS (
    (
        SELECT queue_name, priority
        FROM dbos_workflow
        WHERE status = 'ENQUEUED'
        ORDER BY queue_name, priority
        LIMIT 1
    )
    UNION ALL
    SELECT next.queue_name, next.priority
    FROM lane
    CROSS JOIN LATERAL (
        SELECT queue_name, priority
        FROM dbos_workflow
        WHERE status = 'ENQUEUED'
          AND (queue_name, priority) > (lane.queue_name, lane.priority)
        ORDER BY queue_name, priority
        LIMIT 1
    ) AS next
)
SELECT queue_name, priority FROM lane
