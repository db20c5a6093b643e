-- Return the lanes that have workflows enqueued: a walk from lane to lane in the partial index,
-- however many rows each holds. A queue that is managed, or has partition keys, is one lane without
-- a priority; one that is paused is none.
WITH RECURSIVE lane AS (
    (
        SELECT queue_name, partition_key, priority
        FROM dbos_workflow
        WHERE status = 'ENQUEUED'
        ORDER BY queue_name, partition_key, priority DESC
        LIMIT 1
    )
    UNION ALL
    SELECT next.queue_name, next.partition_key, next.priority
    FROM lane
    CROSS JOIN LATERAL (
        SELECT queue_name, partition_key, priority
        FROM (
            (
                SELECT 1 AS distance, queue_name, partition_key, priority
                FROM dbos_workflow
                WHERE lane.partition_key = ''
                  AND status = 'ENQUEUED'
                  AND queue_name = lane.queue_name
                  AND partition_key = ''
                  AND priority < lane.priority
                ORDER BY priority DESC
                LIMIT 1
            )
            UNION ALL
            (
                SELECT 2 AS distance, queue_name, partition_key, priority
                FROM dbos_workflow
                WHERE lane.partition_key = ''
                  AND status = 'ENQUEUED'
                  AND queue_name = lane.queue_name
                  AND partition_key > ''
                ORDER BY partition_key
                LIMIT 1
            )
            UNION ALL
            (
                SELECT 3 AS distance, queue_name, partition_key, priority
                FROM dbos_workflow
                WHERE status = 'ENQUEUED' AND queue_name > lane.queue_name
                ORDER BY queue_name, partition_key, priority DESC
                LIMIT 1
            )
        ) AS candidate
        ORDER BY distance
        LIMIT 1
    ) AS next
)
SELECT DISTINCT
    lane.queue_name,
    CASE WHEN partition_key = '' AND is_managed IS NOT TRUE THEN priority END AS priority
FROM lane
LEFT JOIN dbos_queue AS queue ON queue.name = lane.queue_name
WHERE paused_at IS NULL
