-- Return the age in seconds of the starts in the window of a rate, and their numbers; newest first.
SELECT extract(epoch FROM clock_timestamp() - last_at)::float8 AS age, count
FROM dbos_queue_start
WHERE queue_name = %(queue_name)s
  AND partition_key = %(partition_key)s
  AND last_at > (SELECT clock_timestamp() - make_interval(secs => %(period)s))
ORDER BY last_at DESC
