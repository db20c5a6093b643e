-- Enqueue workflows of whose children too many have failed, with these.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id IN (
    SELECT holder.workflow_id
    FROM json_each(%(workflow_ids)s) AS failed
    CROSS JOIN dbos_workflow AS child ON child.workflow_id = failed.value
    CROSS JOIN dbos_wake AS waiting ON waiting.wake_workflow_id = child.parent_id
    CROSS JOIN dbos_workflow AS holder
      ON holder.workflow_id = waiting.workflow_id AND holder.claim_number = waiting.claim_number
    WHERE waiting.wake_kind = 'failures'
      AND waiting.wake_name = CAST(child.parent_step_number AS TEXT)
      AND holder.status = 'WAITING'
      AND holder.wake_kind = 'any'
      -- include: is_satisfied
)
RETURNING
    -- include: lane
