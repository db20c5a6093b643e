-- Give a dead executor's workflows back to their queues. The attempt counts; a checkpoint recorded
-- under the dead claim is progress and starts the count anew. Rows that an open transaction has
-- locked are left out: they must not hold up the others. An array, and attempts that are counted for
-- each row: see claim_workflows; a join would compare each with each. OFFSET 0, since else the
-- planner may read and hash a whole table.
UPDATE dbos_workflow AS workflow
SET (status, recovery_attempts, finished_at, place) = (
        SELECT
            CASE WHEN is_last THEN 'MAX_RECOVERY_ATTEMPTS_EXCEEDED' ELSE 'ENQUEUED' END,
            attempts,
            CASE WHEN is_last THEN clock_timestamp() END,
            CASE WHEN workflow.place = 2 AND NOT is_last THEN 2 ELSE 0 END
        FROM (
            SELECT CASE
                WHEN EXISTS (
                    SELECT
                    FROM dbos_checkpoint
                    WHERE workflow_id = workflow.workflow_id
                      AND claim_number = workflow.claim_number
                    OFFSET 0
                ) THEN 1
                ELSE least(workflow.recovery_attempts, 2147483646) + 1
            END AS attempts
            OFFSET 0
        ) AS counted
        CROSS JOIN LATERAL (
            SELECT attempts > coalesce(
                workflow.max_recovery_attempts, %(max_recovery_attempts)s
            ) AS is_last
        ) AS judged
    ),
    claim_number = least(workflow.claim_number, 2147483646) + 1,
    executor_id = NULL,
    -- include: queue_again
WHERE workflow_id = ANY(ARRAY(
    SELECT held.workflow_id
    FROM dbos_workflow AS held
    WHERE held.status = 'PENDING' AND held.executor_id = %(executor_id)s
    ORDER BY held.queue_sequence
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING
    workflow.workflow_id,
    workflow.status,
    -- include: lane
