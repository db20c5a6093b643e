-- Enqueue workflows that were cancelled, quarantined or given up, or that wait, as if they were
-- new; in another queue if one is given.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    is_quarantined = 0,
    output = NULL,
    error = NULL,
    queue_name = coalesce(%(queue_name)s, queue_name),
    claim_number = claim_number + 1,
    recovery_attempts = 0,
    -- A lingering place stays: see keep_place. Another queue has another place.
    place = CASE WHEN queue_name = coalesce(%(queue_name)s, queue_name) THEN place ELSE 0 END,
    executor_id = CASE WHEN place > 0 THEN executor_id END,
    -- include: forget_wait
    deadline_at = CASE WHEN status = 'DELAYED' THEN deadline_at END,
    finished_at = NULL,
    -- With a place that was kept during a wait it comes first: see queue_again.
    queue_sequence = (
        -- include: next_position
    ) - CASE
        WHEN place = 2 AND executor_id IS NULL AND queue_name = coalesce(%(queue_name)s, queue_name) THEN 4611686018427387904
        ELSE 0
    END
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND (status IN ('CANCELLED', 'DELAYED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', 'WAITING') OR is_quarantined)
  AND (executor_id IS NULL OR queue_name = coalesce(%(queue_name)s, queue_name))
  -- Workflows that are being deleted stay: see mark_deleted.
  AND (finished_at IS NULL OR finished_at > '0001-01-01 00:00:00.000000')
  AND NOT EXISTS (
      SELECT 1
      FROM dbos_workflow AS holder
      WHERE holder.queue_name = coalesce(%(queue_name)s, dbos_workflow.queue_name)
        AND holder.deduplication_id = dbos_workflow.deduplication_id
        AND holder.deduplication_id IS NOT NULL
        AND (
            holder.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'WAITING')
            OR holder.unique_until IS NOT NULL
        )
        AND holder.workflow_id <> dbos_workflow.workflow_id
  )
RETURNING
    workflow_id,
    -- include: lane
