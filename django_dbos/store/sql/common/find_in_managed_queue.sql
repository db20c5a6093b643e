-- Return what the limits of its queue have to do with an enqueued workflow; nothing if it has none.
-- coalesce(): the row is found by its id, not through the index of the queues.
SELECT
    queue_name,
    partition_key,
    place,
    executor_id IS NOT NULL AS is_lingering,
    queue_sequence >= 0 AS is_start
FROM dbos_workflow
JOIN dbos_queue AS queue ON queue.name = queue_name AND queue.is_managed
WHERE workflow_id = %(workflow_id)s AND coalesce(status = 'ENQUEUED', false)
