-- Record the start of a workflow that was claimed by its id.
WITH limits AS MATERIALIZED (
    SELECT
        rate_count,
        make_interval(secs => rate_period) AS rate_period,
        partition_rate_count,
        make_interval(secs => partition_rate_period) AS partition_rate_period,
        clock_timestamp() AS now
    FROM dbos_queue
    WHERE name = %(queue_name)s
),
started AS (
    SELECT '' AS partition_key, 1 AS count, rate_count AS rate, rate_period AS period
    FROM limits
    WHERE rate_count IS NOT NULL
    UNION ALL
    SELECT %(partition_key)s, 1, partition_rate_count, partition_rate_period
    FROM limits
    WHERE %(partition_key)s <> '' AND partition_rate_count IS NOT NULL
),
-- include: log_starts
SELECT partition_key FROM started
