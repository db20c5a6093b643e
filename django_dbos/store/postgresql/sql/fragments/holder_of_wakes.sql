-- The workflow that waits for these things, if it still does.
CROSS JOIN LATERAL (
    SELECT
    FROM dbos_workflow
    WHERE workflow_id = waiting.workflow_id
      AND claim_number = waiting.claim_number
      AND status = 'WAITING'
      AND wake_kind = 'any'
    OFFSET 0
) AS holder
