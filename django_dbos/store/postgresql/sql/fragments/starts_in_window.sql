-- The starts in the window of a rate, and the seconds until it has room for another one.
SELECT
    coalesce(sum(start.count), 0)::int AS count,
    extract(
        epoch FROM max(start.last_at) FILTER (WHERE start.later >= rate.count)
            + rate.period - limits.now
    )::float8 AS next_start
FROM (
    SELECT last_at, count, sum(count) OVER (ORDER BY last_at DESC, queue_start_id) AS later
    FROM dbos_queue_start
    WHERE queue_name = %(queue_name)s
      AND partition_key = rate.partition_key
      AND last_at > limits.now - rate.period
) AS start
