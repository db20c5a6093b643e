-- Give a dead executor's workflows back to their queues. The attempt counts; a checkpoint recorded
-- under the dead claim is progress and starts the count anew. Rows that an open transaction has
-- locked are left out: they must not hold up the others. OFFSET 0, since else the planner may read
-- and hash a whole table. (An array beside the join, as elsewhere, would compare each row with
-- each.)
WITH dead AS MATERIALIZED (
    SELECT
        held.workflow_id,
        coalesce(held.max_recovery_attempts, %(max_recovery_attempts)s) AS attempts_allowed,
        CASE
            WHEN EXISTS (
                SELECT
                FROM dbos_checkpoint
                WHERE workflow_id = held.workflow_id AND claim_number = held.claim_number
                OFFSET 0
            ) THEN 1
            ELSE least(held.recovery_attempts, 2147483646) + 1
        END AS attempts
    FROM dbos_workflow AS held
    WHERE held.status = 'PENDING' AND held.executor_id = %(executor_id)s
    ORDER BY held.queue_sequence
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE dbos_workflow AS workflow
SET status = CASE
        WHEN dead.attempts > dead.attempts_allowed THEN 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'
        ELSE 'ENQUEUED'
    END,
    recovery_attempts = dead.attempts,
    finished_at = CASE
        WHEN dead.attempts > dead.attempts_allowed THEN clock_timestamp()
    END,
    claim_number = least(workflow.claim_number, 2147483646) + 1,
    place = CASE
        WHEN workflow.place = 2 AND dead.attempts <= dead.attempts_allowed THEN 2
        ELSE 0
    END,
    executor_id = NULL,
    -- include: queue_again
FROM dead
WHERE workflow.workflow_id = dead.workflow_id
RETURNING
    workflow.workflow_id,
    workflow.status,
    -- include: lane
