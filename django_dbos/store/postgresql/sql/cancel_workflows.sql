UPDATE dbos_workflow
SET status = 'CANCELLED',
    claim_number = least(claim_number, 2147483646) + 1,
    executor_id = NULL,
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    finished_at = clock_timestamp()
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
RETURNING workflow_id
