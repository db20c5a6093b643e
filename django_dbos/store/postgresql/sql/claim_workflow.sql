-- Claims one workflow by its id, for an executor that awaits its result.
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
FROM (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s AND status = 'ENQUEUED'
    FOR UPDATE SKIP LOCKED
) AS chosen
WHERE workflow.workflow_id = chosen.workflow_id
RETURNING
    -- columns: workflow.claim,
    (extract(epoch FROM workflow.deadline_at) - extract(epoch FROM clock_timestamp()))::float8
        AS remaining,
    workflow.claim_number > 1 AS has_history, workflow.queue_sequence
