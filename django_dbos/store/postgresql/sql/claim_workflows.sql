-- Claim the next workflows of a lane, above a queue position. An array, since the planner reads the
-- whole table for a join of many rows.
WITH executor AS MATERIALIZED (
    -- include: live_executor
),
chosen AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND queue_name = %(queue_name)s
      AND partition_key = ''
      AND priority = %(priority)s
      AND queue_sequence > %(above)s
      AND name = ANY(%(names)s::text[])
      AND recovery_attempts < 3
      AND EXISTS (SELECT FROM executor)
    ORDER BY queue_sequence
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE dbos_workflow AS workflow
-- include: take_claim
WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM chosen))
-- include: return_claim
