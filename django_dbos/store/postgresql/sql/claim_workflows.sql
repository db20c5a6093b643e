-- Claim the next workflows of a lane, above a queue position; of a managed queue none. An array,
-- since the planner reads the whole table for a join of many rows.
WITH executor AS MATERIALIZED (
    -- include: live_executor
),
queue AS MATERIALIZED (
    SELECT EXISTS (
        SELECT FROM dbos_queue WHERE name = %(queue_name)s AND is_managed
    ) AS is_managed
),
chosen AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND queue_name = %(queue_name)s
      AND partition_key = ''
      AND priority = %(priority)s
      AND queue_sequence > %(above)s
      -- include: is_known
      AND recovery_attempts < 3
      AND EXISTS (SELECT FROM executor)
      AND NOT (SELECT is_managed FROM queue)
    ORDER BY queue_sequence
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE dbos_workflow AS workflow
    -- include: take_claim
    WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM chosen))
    -- include: return_claim
)
-- One row at least.
SELECT claimed.*, queue.is_managed
FROM queue
LEFT JOIN claimed ON true
