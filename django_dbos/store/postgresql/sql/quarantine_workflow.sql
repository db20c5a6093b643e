-- Takes out one that fails what is done with many at once; enqueued, or claimed by this executor.
-- Not while somebody's open transaction has it. least(): see release_workflows.
-- By key, and by nothing else: see lock_claims.
UPDATE dbos_workflow
SET status = 'ERROR',
    is_quarantined = true,
    output = NULL,
    error = %(error)s,
    claim_number = least(claim_number, 2147483646) + 1,
    executor_id = NULL,
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    finished_at = clock_timestamp()
WHERE workflow_id = (
    SELECT workflow_id
    FROM dbos_workflow
    WHERE workflow_id = %(workflow_id)s
      AND coalesce(
          status = 'ENQUEUED' OR status = 'PENDING' AND executor_id = %(executor_id)s, false
      )
    FOR UPDATE SKIP LOCKED
)
RETURNING workflow_id
