-- Add starts to those of the same bucket, if there are any.
UPDATE dbos_queue_start
SET last_at = max(last_at, %(now)s), count = count + %(count)s
WHERE queue_start_id = (
    SELECT queue_start_id
    FROM dbos_queue_start
    WHERE queue_name = %(queue_name)s
      AND partition_key = %(partition_key)s
      AND last_at >= %(since)s
    ORDER BY last_at DESC
    LIMIT 1
)
RETURNING queue_start_id
