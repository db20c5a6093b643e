-- Return the lanes that have workflows enqueued. A queue that is managed, or has partition keys, is
-- one lane without a priority; one that is paused is none.
SELECT DISTINCT
    queue_name,
    CASE WHEN partition_key = '' AND is_managed IS NOT TRUE THEN priority END AS priority
FROM dbos_workflow
LEFT JOIN dbos_queue AS queue ON queue.name = queue_name
WHERE status = 'ENQUEUED' AND paused_at IS NULL
