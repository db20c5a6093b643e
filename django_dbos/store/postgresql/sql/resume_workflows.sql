UPDATE dbos_workflow AS workflow
SET status = 'ENQUEUED',
    is_quarantined = false,
    output = NULL,
    error = NULL,
    claim_number = least(claim_number, 2147483646) + 1,
    recovery_attempts = 0,
    executor_id = NULL,
    due_at = NULL,
    wake_kind = NULL,
    wake_workflow_id = NULL,
    wake_name = NULL,
    deadline_at = CASE WHEN status = 'DELAYED' THEN deadline_at END,
    finished_at = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND (status IN ('CANCELLED', 'DELAYED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', 'WAITING') OR is_quarantined)
  -- Not what is being deleted: see mark_deleted.
  AND (finished_at IS NULL OR finished_at > '-infinity')
  AND NOT EXISTS (
      SELECT
      FROM dbos_workflow AS holder
      WHERE holder.queue_name = workflow.queue_name
        AND holder.deduplication_id = workflow.deduplication_id
        AND holder.deduplication_id IS NOT NULL
        AND holder.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
        AND holder.workflow_id <> workflow.workflow_id
      OFFSET 0
  )
RETURNING workflow_id, queue_name, priority
