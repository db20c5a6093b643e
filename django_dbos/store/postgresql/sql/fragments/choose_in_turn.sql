-- Workflows that keep their places until they end, and want to go on: they count already.
kept AS MATERIALIZED (
    SELECT workflow_id, partition_key, priority, queue_sequence, false AS is_start
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND queue_name = %(queue_name)s
      AND queue_sequence < 0
      AND place > 0
      AND executor_id IS NULL
      -- include: is_known
      AND recovery_attempts < 3
    ORDER BY priority DESC, queue_sequence
    LIMIT coalesce((SELECT greatest(least(%(limit)s::int, own_places), 0) FROM room), 0)
    FOR UPDATE SKIP LOCKED
),
spare AS MATERIALIZED (
    SELECT
        greatest(least(
            %(limit)s::int - (SELECT count(*) FROM kept)::int,
            own_places - (SELECT count(*) FROM kept)::int,
            places
        ), 0) AS count,
        CASE WHEN starts < 0 THEN 0 ELSE starts END AS starts
    FROM room
),
-- The walk from key to key, each found in the index however many rows the former has. It ends when
-- enough keys are found that something may be claimed of, or after many that nothing may be. Without
-- a start left it only visits workflows that have run before.
turn AS (
    SELECT
        0 AS visits,
        0 AS found,
        %(after)s::text COLLATE "C" AS partition_key,
        false AS is_open,
        NULL::int AS places,
        NULL::int AS starts,
        NULL::float8 AS next_start
    FROM spare
    WHERE count > 0
    UNION ALL
    SELECT
        turn.visits + 1,
        turn.found + state.is_open::int,
        next.partition_key::text COLLATE "C",
        state.is_open,
        held.places,
        started.starts,
        started.next_start
    FROM turn
    CROSS JOIN limits
    CROSS JOIN spare
    CROSS JOIN LATERAL (
        SELECT partition_key
        FROM (
            (
                SELECT partition_key
                FROM dbos_workflow
                WHERE turn.partition_key IS NULL
                  AND limits.is_managed
                  AND status = 'ENQUEUED'
                  AND queue_name = %(queue_name)s
                  AND partition_key = ''
                LIMIT 1
            )
            UNION ALL
            (
                SELECT partition_key
                FROM dbos_workflow
                WHERE coalesce(spare.starts, 1) > 0
                  AND status = 'ENQUEUED'
                  AND queue_name = %(queue_name)s
                  AND partition_key > coalesce(turn.partition_key, '')
                ORDER BY partition_key
                LIMIT 1
            )
            UNION ALL
            (
                SELECT partition_key
                FROM dbos_workflow
                WHERE spare.starts = 0
                  AND status = 'ENQUEUED'
                  AND queue_name = %(queue_name)s
                  AND queue_sequence < 0
                  AND partition_key > coalesce(turn.partition_key, '')
                ORDER BY partition_key
                LIMIT 1
            )
        ) AS candidate
        ORDER BY partition_key
        LIMIT 1
    ) AS next
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN next.partition_key <> '' THEN limits.partition_concurrency - count(*)::int
            END AS places
        FROM dbos_workflow
        WHERE limits.partition_concurrency IS NOT NULL
          AND queue_name = %(queue_name)s
          AND partition_key = next.partition_key
          AND place > 0
    ) AS held
    CROSS JOIN LATERAL (
        SELECT
            next.partition_key,
            CASE WHEN next.partition_key <> '' THEN limits.partition_rate_count END AS count,
            limits.partition_rate_period AS period
    ) AS rate
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN found.count > rate.count THEN 0 ELSE rate.count - found.count END AS starts,
            found.next_start
        FROM (
            -- include: starts_in_window
        ) AS found
    ) AS started
    CROSS JOIN LATERAL (
        SELECT
            coalesce(held.places, 1) > 0
            AND (
                least(spare.starts, started.starts, 1) > 0
                OR EXISTS (
                    SELECT
                    FROM dbos_workflow
                    WHERE status = 'ENQUEUED'
                      AND queue_name = %(queue_name)s
                      AND queue_sequence < 0
                      AND partition_key = next.partition_key
                )
            ) AS is_open
    ) AS state
    WHERE turn.visits < %(max_visits)s::int AND turn.found < spare.count
),
-- Each of these keys gets the same share of what there is room for.
share AS MATERIALIZED (
    SELECT ceil(spare.count::numeric / greatest(max(turn.found), 1))::int AS count
    FROM turn
    CROSS JOIN spare
    GROUP BY spare.count
),
taken AS MATERIALIZED (
    SELECT
        turn.visits,
        turn.places,
        turn.starts,
        one.*,
        row_number() OVER (
            PARTITION BY turn.visits ORDER BY one.priority DESC, one.queue_sequence
        ) AS round
    FROM turn
    CROSS JOIN share
    CROSS JOIN spare
    CROSS JOIN LATERAL (
        SELECT *
        FROM (
            SELECT *
            FROM (
                SELECT workflow_id, partition_key, priority, queue_sequence, false AS is_start
                FROM dbos_workflow
                WHERE status = 'ENQUEUED'
                  AND queue_name = %(queue_name)s
                  AND partition_key = turn.partition_key
                  AND queue_sequence < 0
                  AND place = 0
                  -- include: is_known
                  AND recovery_attempts < 3
                ORDER BY priority DESC, queue_sequence
                LIMIT least(share.count, turn.places)
                FOR UPDATE SKIP LOCKED
            ) AS again
            UNION ALL
            SELECT *
            FROM (
                SELECT workflow_id, partition_key, priority, queue_sequence, true AS is_start
                FROM dbos_workflow
                WHERE status = 'ENQUEUED'
                  AND queue_name = %(queue_name)s
                  AND partition_key = turn.partition_key
                  AND queue_sequence >= 0
                  AND place = 0
                  -- include: is_known
                  AND recovery_attempts < 3
                ORDER BY priority DESC, queue_sequence
                LIMIT least(share.count, turn.places, spare.starts, turn.starts)
                FOR UPDATE SKIP LOCKED
            ) AS new
        ) AS either
        ORDER BY priority DESC, queue_sequence
        LIMIT least(share.count, turn.places)
    ) AS one
    WHERE turn.is_open
),
chosen AS MATERIALIZED (
    SELECT workflow_id, partition_key, is_start, row_number() OVER (
        ORDER BY priority DESC, queue_sequence
    ) AS position
    FROM kept
    UNION ALL
    (
        SELECT workflow_id, partition_key, is_start, position
        FROM (
            SELECT
                workflow_id,
                partition_key,
                is_start,
                %(limit)s::int + row_number() OVER in_turn AS position,
                sum(is_start::int) OVER in_turn AS starts
            FROM taken
            WINDOW in_turn AS (ORDER BY round, visits)
        ) AS ordered
        CROSS JOIN spare
        WHERE NOT is_start OR ordered.starts <= coalesce(spare.starts, ordered.starts)
        ORDER BY position
        LIMIT coalesce((SELECT count FROM spare), 0)
    )
),
