-- Cancels what is past its deadline; taking the claim of a running one with it.
-- An array: see claim_workflows. least(): see release_workflows. The time as a subquery: only so can the index look it up.
UPDATE dbos_workflow
SET status = 'CANCELLED',
    claim_number = least(claim_number, 2147483646) + 1,
    executor_id = NULL,
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    finished_at = clock_timestamp()
WHERE workflow_id = ANY(ARRAY(
    SELECT workflow_id
    FROM dbos_workflow
    WHERE status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
      AND deadline_at <= (SELECT clock_timestamp())
    ORDER BY deadline_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING workflow_id
