-- Enqueue waiting workflows whose awaited message, event or result is there: after a suspension
-- these workflows, and in the sweep for lost wake-ups all. A limit, since no other process can write
-- meanwhile.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id IN (
    SELECT waiting.workflow_id
    FROM dbos_workflow AS waiting
    WHERE waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
      AND (%(workflow_ids)s IS NULL
           OR waiting.workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s)))
      AND (
          true
          -- include: is_satisfied
          OR
          -- include: is_gone
      )
    UNION
    -- Those that wait for any of several things.
    SELECT holder.workflow_id
    FROM dbos_workflow AS holder
    CROSS JOIN dbos_wake AS waiting
      ON waiting.workflow_id = holder.workflow_id AND waiting.claim_number = holder.claim_number
    WHERE holder.status = 'WAITING'
      AND holder.wake_workflow_id IS NOT NULL
      AND holder.wake_kind = 'any'
      AND (%(workflow_ids)s IS NULL
           OR holder.workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s)))
      -- include: is_satisfied
    LIMIT %(limit)s
)
RETURNING
    -- include: lane
