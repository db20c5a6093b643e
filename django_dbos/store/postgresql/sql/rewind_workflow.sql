-- Enqueue a workflow whose history was cut off, as if it were new. Its new token makes it another
-- one to everything that has followed it: readers, callbacks, atomic steps on other databases.
UPDATE dbos_workflow AS workflow
SET status = 'ENQUEUED',
    token = %(token)s,
    is_quarantined = false,
    output = NULL,
    error = NULL,
    claim_number = least(claim_number, 2147483646) + 1,
    recovery_attempts = 0,
    -- A lingering place stays: see keep_place.
    executor_id = CASE WHEN place > 0 THEN executor_id END,
    -- include: forget_wait
    deadline_at = NULL,
    finished_at = NULL,
    -- With a place that was kept during a wait it comes first: see queue_again.
    queue_sequence = nextval('dbos_queue_sequence') - CASE
        WHEN place = 2 AND executor_id IS NULL THEN 4611686018427387904
        ELSE 0
    END
WHERE workflow_id = %(workflow_id)s
  AND status NOT IN ('DELAYED', 'PENDING')
  -- Workflows that are being deleted stay: see mark_deleted.
  AND (finished_at IS NULL OR finished_at > '-infinity')
  AND NOT EXISTS (
      SELECT
      FROM dbos_workflow AS holder
      WHERE holder.queue_name = workflow.queue_name
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
