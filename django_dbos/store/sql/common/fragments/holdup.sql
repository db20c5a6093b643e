workflow.workflow_id,
workflow.place > 0 AND workflow.executor_id IS NULL AS holds_place,
CASE WHEN workflow.place > 0 THEN workflow.executor_id END AS lingers_on,
(
    SELECT parent.partition_key
    FROM dbos_workflow AS parent
    WHERE parent.workflow_id = workflow.parent_id
      AND parent.queue_name = workflow.queue_name
      AND parent.place IN (1, 2)
) AS parent_key,
CASE WHEN queue.concurrency IS NULL THEN 0 ELSE (
    SELECT count(*)
    FROM dbos_workflow AS other
    WHERE other.place > 0 AND other.queue_name = workflow.queue_name
) END AS places,
CASE WHEN queue.partition_concurrency IS NULL THEN 0 ELSE (
    SELECT count(*)
    FROM dbos_workflow AS other
    WHERE other.place > 0
      AND other.queue_name = workflow.queue_name
      AND other.partition_key = workflow.partition_key
) END AS partition_places,
(
    SELECT count(*)
    FROM (
        SELECT one
        FROM (
            SELECT 1 AS one
            FROM dbos_workflow AS other
            WHERE other.status = 'ENQUEUED'
              AND other.queue_name = workflow.queue_name
              AND other.partition_key = workflow.partition_key
              AND other.priority > workflow.priority
            ORDER BY other.priority DESC
            LIMIT %(most)s
        ) AS higher
        UNION ALL
        SELECT one
        FROM (
            SELECT 1 AS one
            FROM dbos_workflow AS other
            WHERE other.status = 'ENQUEUED'
              AND other.queue_name = workflow.queue_name
              AND other.partition_key = workflow.partition_key
              AND other.priority = workflow.priority
              AND other.queue_sequence < workflow.queue_sequence
            ORDER BY other.queue_sequence
            LIMIT %(most)s
        ) AS equal
        LIMIT %(most)s
    ) AS counted
) AS ahead
