-- The queues with enqueued workflows, one look-up each in the index of lanes.
WITH RECURSIVE queue (name) AS (
    SELECT min(queue_name)
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
    UNION ALL
    SELECT (
        SELECT min(queue_name)
        FROM dbos_workflow
        WHERE status = 'ENQUEUED' AND queue_name > queue.name
    )
    FROM queue
    WHERE queue.name IS NOT NULL
)
SELECT name FROM queue WHERE name IS NOT NULL LIMIT %(limit)s
