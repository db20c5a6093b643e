-- Give a dead executor's workflows back to their queues. The attempt counts; a checkpoint recorded
-- under the dead claim is progress and starts the count anew.
UPDATE dbos_workflow
SET recovery_attempts = CASE
        WHEN EXISTS (
            SELECT 1
            FROM dbos_checkpoint AS checkpoint
            WHERE checkpoint.workflow_id = dbos_workflow.workflow_id
              AND checkpoint.claim_number = dbos_workflow.claim_number
        ) THEN 1
        ELSE recovery_attempts + 1
    END,
    status = 'ENQUEUED',
    -- include: raise_claim_number
    -- include: give_back_place
    -- include: queue_again
WHERE status = 'PENDING' AND executor_id = %(executor_id)s
RETURNING
    workflow_id,
    status,
    -- include: lane
