-- Delete starts that have left all windows: of all partitions, as some may never come again.
DELETE FROM dbos_queue_start
WHERE queue_start_id IN (
    SELECT queue_start_id
    FROM dbos_queue_start
    WHERE queue_name = %(queue_name)s AND last_at < %(since)s
    ORDER BY last_at
    LIMIT %(limit)s
)
