-- Enqueue a workflow that waits for a message of this topic. See wake_waiting.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id = (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND status = 'WAITING'
      AND (
          (wake_kind = 'message' AND wake_workflow_id = %(workflow_id)s AND wake_name = %(topic)s)
          OR (
              wake_kind = 'any'
              AND EXISTS (
                  SELECT
                  FROM dbos_wake AS waiting
                  WHERE waiting.workflow_id = %(workflow_id)s
                    AND waiting.claim_number = dbos_workflow.claim_number
                    AND waiting.wake_kind = 'message'
                    AND waiting.wake_name = %(topic)s
                  OFFSET 0
              )
          )
      )
    FOR UPDATE SKIP LOCKED
)
RETURNING
    -- include: lane
