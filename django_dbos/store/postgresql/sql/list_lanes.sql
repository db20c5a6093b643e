-- Return the lanes that have workflows enqueued: a walk from lane to lane in the partial index,
-- however many rows each holds. All partition keys of a queue are one lane, without a priority.
WITH RECURSIVE lane AS (
    (
        SELECT queue_name, partition_key, priority
        FROM dbos_workflow
        WHERE status = 'ENQUEUED'
        ORDER BY queue_name, partition_key, priority
        LIMIT 1
    )
    UNION ALL
    SELECT next.queue_name, next.partition_key, next.priority
    FROM lane
    CROSS JOIN LATERAL (
        (
            SELECT queue_name, partition_key, priority
            FROM dbos_workflow
            WHERE lane.partition_key = ''
              AND status = 'ENQUEUED'
              AND (queue_name, partition_key, priority) > (lane.queue_name, '', lane.priority)
            ORDER BY queue_name, partition_key, priority
            LIMIT 1
        )
        UNION ALL
        (
            SELECT queue_name, partition_key, priority
            FROM dbos_workflow
            WHERE lane.partition_key <> ''
              AND status = 'ENQUEUED'
              AND queue_name > lane.queue_name
            ORDER BY queue_name, partition_key, priority
            LIMIT 1
        )
    ) AS next
)
SELECT
    -- include: lane
FROM lane
