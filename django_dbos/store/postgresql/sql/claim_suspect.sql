-- Claims one workflow that was running when executors died, again and again.
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
      AND recovery_attempts >= 3
      AND queue_name = ANY(%(queue_names)s::text[])
      AND name = ANY(%(names)s::text[])
      AND EXISTS (SELECT FROM executor)
    ORDER BY queue_sequence
    LIMIT 1
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
FROM chosen
WHERE workflow.workflow_id = chosen.workflow_id
RETURNING
    -- columns: workflow.claim,
    (extract(epoch FROM workflow.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining,
    workflow.claim_number > 1 AS has_history, workflow.queue_sequence
