-- Claims the next workflows of one queue and priority, above a place in the queue.
-- The executor's row is locked against being declared dead while the claim is made.
-- An array, since a join of many rows is planned as a read of the whole table.
WITH executor AS MATERIALIZED (
    SELECT executor_id
    FROM dbos_executor
    WHERE executor_id = %(executor_id)s AND heartbeat_at > '-infinity'
    FOR KEY SHARE SKIP LOCKED
),
chosen AS MATERIALIZED (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status = 'ENQUEUED'
      AND queue_name = %(queue_name)s
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
SET status = 'PENDING',
    executor_id = %(executor_id)s,
    claim_number = workflow.claim_number + 1,
    started_at = coalesce(workflow.started_at, clock_timestamp()),
    deadline_at = coalesce(
        workflow.deadline_at,
        clock_timestamp() + CASE
            WHEN workflow.timeout > interval '1000 years' THEN interval '1000 years'
            ELSE workflow.timeout
        END
    )
WHERE workflow_id = ANY(ARRAY(SELECT workflow_id FROM chosen))
RETURNING
    -- columns: workflow.claim,
    (extract(epoch FROM workflow.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining,
    workflow.claim_number > 1 AS has_history, workflow.queue_sequence
