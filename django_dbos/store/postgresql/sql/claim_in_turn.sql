-- Claim from a managed queue, or from one with partition keys, in turn of the keys: after one key, up
-- to a number of workflows. Claims of a managed queue follow one another under the lock of its row,
-- so what they count holds.
WITH RECURSIVE
-- include: room_in_queue
-- include: choose_in_turn
-- How the claim goes on: see core.queues.Part.
part AS MATERIALIZED (
    SELECT
        CASE
            WHEN EXISTS (SELECT FROM turn) THEN (
                SELECT partition_key
                FROM turn
                WHERE (visits >= %(max_visits)s::int OR found >= (SELECT count FROM spare))
                  AND EXISTS (
                      SELECT
                      FROM dbos_workflow AS next
                      WHERE status = 'ENQUEUED'
                        AND queue_name = %(queue_name)s
                        AND next.partition_key > turn.partition_key
                      -- A look for each, never a join with all of them.
                      OFFSET 0
                  )
                ORDER BY visits DESC
                LIMIT 1
            )
            ELSE %(after)s::text
        END AS after,
        (
            SELECT count(*) FROM chosen
        ) < (
            SELECT count(*) FROM taken
        ) OR EXISTS (
            SELECT
            FROM taken
            CROSS JOIN share
            WHERE taken.round = share.count AND (places IS NULL OR places > share.count)
               OR taken.round = taken.starts
        ) OR (
            SELECT count(*) FROM chosen WHERE is_start
        ) >= (
            SELECT nullif(starts, 0) FROM spare
        ) OR (
            SELECT count(*) FROM kept
        ) >= %(limit)s::int AS is_cut,
        (
            SELECT count(*) FROM kept
        ) < %(limit)s::int AND NOT EXISTS (
            SELECT
            FROM room
            WHERE coalesce(own_places > (SELECT count(*) FROM chosen), true)
              AND coalesce(
                  places > (SELECT count(*) FROM chosen) - (SELECT count(*) FROM kept), true
              )
        ) AS is_full,
        EXISTS (
            SELECT
            FROM dbos_queue
            WHERE name = %(queue_name)s
              AND is_managed
              AND paused_at IS NULL
              AND name IS DISTINCT FROM current_setting('dbos.locked_queue', true)
        ) AS is_locked,
        coalesce((SELECT is_managed FROM limits), true) AS is_managed,
        EXISTS (SELECT FROM turn WHERE is_open) AS is_open,
        least(
            (SELECT next_start FROM room),
            (SELECT min(next_start) FROM turn)
        ) AS next_start
),
claimed AS (
    UPDATE dbos_workflow AS workflow
    -- include: take_claim
        ,
        place = CASE
            WHEN workflow.place > 0 OR NOT limits.is_managed THEN workflow.place
            ELSE limits.place
        END
    FROM limits
    WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM chosen))
    -- include: return_claim
),
started AS (
    SELECT '' AS partition_key, count(*)::int AS count, rate_count AS rate, rate_period AS period
    FROM chosen
    CROSS JOIN limits
    WHERE is_start AND rate_count IS NOT NULL
    GROUP BY rate_count, rate_period
    UNION ALL
    SELECT partition_key, count(*)::int, partition_rate_count, partition_rate_period
    FROM chosen
    CROSS JOIN limits
    WHERE is_start AND partition_key <> '' AND partition_rate_count IS NOT NULL
    GROUP BY partition_key, partition_rate_count, partition_rate_period
),
-- include: log_starts
SELECT part.*, claimed.*
FROM part
LEFT JOIN (claimed JOIN chosen USING (workflow_id)) ON true
ORDER BY chosen.position
