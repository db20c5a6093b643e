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
    -- A lingering place stays: see keep_place. Another queue has another place.
    place = CASE WHEN queue_name = coalesce(%(queue_name)s::text, queue_name) THEN place ELSE 0 END,
    executor_id = CASE WHEN place > 0 THEN executor_id END,
    -- include: forget_wait
    deadline_at = CASE WHEN status = 'DELAYED' THEN deadline_at END,
    finished_at = NULL,
    -- With a place that was kept during a wait it comes first: see queue_again.
    queue_sequence = nextval('dbos_queue_sequence') - CASE
        WHEN place = 2 AND executor_id IS NULL AND queue_name = coalesce(%(queue_name)s::text, queue_name) THEN 4611686018427387904
        ELSE 0
    END
WHERE workflow_id = ANY(%(workflow_ids)s::text[])
  AND (status IN ('CANCELLED', 'DELAYED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', 'WAITING') OR is_quarantined)
  AND (executor_id IS NULL OR queue_name = coalesce(%(queue_name)s::text, queue_name))
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
