-- Enqueue workflows that were cancelled, quarantined or given up, or that wait, as if they were
-- new; in another queue if one is given.
UPDATE dbos_workflow AS workflow
SET status = 'ENQUEUED',
    is_quarantined = false,
    output = NULL,
    error = NULL,
    queue_name = coalesce(%(queue_name)s::text, queue_name),
    claim_number = least(claim_number, 2147483646) + 1,
    recovery_attempts = 0,
    executor_id = NULL,
    -- include: forget_wait
    deadline_at = CASE WHEN status = 'DELAYED' THEN deadline_at END,
    finished_at = NULL,
    queue_sequence = nextval('dbos_queue_sequence')
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND (status IN ('CANCELLED', 'DELAYED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', 'WAITING') OR is_quarantined)
  -- Workflows that are being deleted stay: see mark_deleted.
  AND (finished_at IS NULL OR finished_at > '-infinity')
  AND NOT EXISTS (
      SELECT
      FROM dbos_workflow AS holder
      WHERE holder.queue_name = coalesce(%(queue_name)s::text, workflow.queue_name)
        AND holder.deduplication_id = workflow.deduplication_id
        AND holder.deduplication_id IS NOT NULL
        AND (
            holder.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
            OR holder.unique_until IS NOT NULL
        )
        AND holder.workflow_id <> workflow.workflow_id
      OFFSET 0
  )
RETURNING
    workflow_id,
    -- include: lane
