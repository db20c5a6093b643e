-- Give places to the claims of an executor in managed queues that have none: they were under way when
-- the queue became managed. Rows that an open transaction has locked are left out.
WITH lacking AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    JOIN dbos_queue AS queue ON queue.name = queue_name AND queue.is_managed
    WHERE status = 'PENDING' AND executor_id = %(executor_id)s AND place = 0
),
locked AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM lacking))
      AND place = 0
      -- include: held_here
    ORDER BY workflow_id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE dbos_workflow
SET place = CASE
    WHEN (SELECT hold_while_waiting FROM dbos_queue WHERE name = queue_name) THEN 2
    ELSE 1
END
WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM locked))
