-- Return the starts in the window of a rate, and their numbers; newest first. A text: Django turns
-- columns with instants into datetimes.
SELECT last_at || '' AS last_at, count
FROM dbos_queue_start
WHERE queue_name = %(queue_name)s AND partition_key = %(partition_key)s AND last_at > %(since)s
ORDER BY dbos_queue_start.last_at DESC
