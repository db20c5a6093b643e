-- Starts that lie close together share a row, where there may be many. The instant is read once the
-- claim is done: it is no earlier than that of any start, so no window of starts has more.
merged AS (
    UPDATE dbos_queue_start AS row
    SET last_at = greatest(row.last_at, clock_timestamp()), count = row.count + started.count
    FROM started
    CROSS JOIN limits
    -- ANY: see finish_workflows.
    WHERE row.queue_start_id = ANY(ARRAY(
        SELECT queue_start_id
        FROM dbos_queue_start
        WHERE started.rate > 1000
          AND queue_name = %(queue_name)s
          AND partition_key = started.partition_key
          AND last_at >= to_timestamp(
              floor(extract(epoch FROM limits.now) / (extract(epoch FROM started.period) / 1000))
              * (extract(epoch FROM started.period) / 1000)
          )
        ORDER BY last_at DESC
        LIMIT 1
    ))
    RETURNING row.partition_key
),
logged AS (
    INSERT INTO dbos_queue_start (queue_name, partition_key, last_at, count)
    SELECT %(queue_name)s, started.partition_key, clock_timestamp(), started.count
    FROM started
    WHERE NOT EXISTS (SELECT FROM merged WHERE merged.partition_key = started.partition_key)
),
-- Of all partitions, as some may never come again; more than were added.
expired AS (
    DELETE FROM dbos_queue_start
    WHERE queue_start_id = ANY(ARRAY(
        SELECT queue_start_id
        FROM dbos_queue_start
        WHERE EXISTS (SELECT FROM started)
          AND queue_name = %(queue_name)s
          AND last_at < (SELECT now - greatest(rate_period, partition_rate_period) FROM limits)
        ORDER BY last_at
        LIMIT (SELECT 2 * count(*) + 10 FROM started)
    ))
)
