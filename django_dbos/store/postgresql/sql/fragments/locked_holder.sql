-- The workflow that waits for these things, if it still does and nobody has locked it.
CROSS JOIN LATERAL (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = waiting.workflow_id
      AND claim_number = waiting.claim_number
      AND status = 'WAITING'
      AND wake_kind = 'any'
    FOR UPDATE SKIP LOCKED
) AS holder
