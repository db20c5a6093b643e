-- The limits of a managed queue, whose row this transaction has locked (see lock_queue), and how
-- many workflows they let through now. A queue that isn't managed lets all through. There is no row
-- for a queue that is locked by others or paused, and for an executor that was declared dead.
executor AS MATERIALIZED (
    -- include: live_executor
),
limits AS MATERIALIZED (
    SELECT
        queue.name IS NOT NULL AS is_managed,
        queue.concurrency,
        queue.worker_concurrency,
        queue.rate_count,
        make_interval(secs => queue.rate_period) AS rate_period,
        queue.partition_concurrency,
        queue.partition_rate_count,
        make_interval(secs => queue.partition_rate_period) AS partition_rate_period,
        CASE WHEN queue.hold_while_waiting THEN 2 ELSE 1 END AS place,
        clock_timestamp() AS now
    FROM executor
    LEFT JOIN dbos_queue AS queue ON queue.name = %(queue_name)s AND queue.is_managed
    WHERE queue.name IS NULL
       OR queue.paused_at IS NULL AND queue.name = current_setting('dbos.locked_queue', true)
),
room AS MATERIALIZED (
    SELECT
        limits.worker_concurrency - held.own AS own_places,
        limits.concurrency - held.count AS places,
        limits.rate_count - started.count AS starts,
        started.next_start
    FROM limits
    CROSS JOIN LATERAL (
        SELECT
            count(*)::int AS count,
            (count(*) FILTER (WHERE executor_id = %(executor_id)s))::int AS own
        FROM dbos_workflow
        WHERE coalesce(limits.concurrency, limits.worker_concurrency) IS NOT NULL
          AND queue_name = %(queue_name)s
          AND place > 0
    ) AS held
    CROSS JOIN LATERAL (
        SELECT '' AS partition_key, limits.rate_count AS count, limits.rate_period AS period
    ) AS rate
    CROSS JOIN LATERAL (
        -- include: starts_in_window
    ) AS started
),
