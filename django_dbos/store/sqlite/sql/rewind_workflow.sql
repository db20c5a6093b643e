-- Enqueue a workflow whose history was cut off, as if it were new. Its new token makes it another
-- one to everything that has followed it: readers, callbacks, atomic steps on other databases.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    token = %(token)s,
    is_quarantined = 0,
    output = NULL,
    error = NULL,
    claim_number = claim_number + 1,
    recovery_attempts = 0,
    -- A lingering place stays: see keep_place.
    executor_id = CASE WHEN place > 0 THEN executor_id END,
    -- include: forget_wait
    deadline_at = NULL,
    finished_at = NULL,
    -- With a place that was kept during a wait it comes first: see queue_again.
    queue_sequence = (
        -- include: next_position
    ) - CASE
        WHEN place = 2 AND executor_id IS NULL THEN 4611686018427387904
        ELSE 0
    END
WHERE workflow_id = %(workflow_id)s
  AND status NOT IN ('DELAYED', 'PENDING')
  -- Workflows that are being deleted stay: see mark_deleted.
  AND (finished_at IS NULL OR finished_at > '0001-01-01 00:00:00.000000')
  AND NOT EXISTS (
      SELECT 1
      FROM dbos_workflow AS holder
      WHERE holder.queue_name = dbos_workflow.queue_name
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
