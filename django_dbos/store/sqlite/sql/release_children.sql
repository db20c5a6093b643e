-- Enqueue children that are held behind others, if their parent's claim still holds.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    queue_sequence = (
        -- include: next_position
    )
WHERE workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s))
  AND status = 'WAITING'
  AND claim_number = 0
  AND wake_kind = 'result'
  AND EXISTS (
      SELECT 1
      FROM dbos_workflow AS parent
      WHERE parent.workflow_id = %(parent_id)s
        AND parent.claim_number = %(claim_number)s
        AND parent.status = 'PENDING'
  )
RETURNING
    -- include: lane
