-- Enqueue waiting workflows whose awaited message, event or result is there: after a suspension
-- these workflows, and in the sweep for lost wake-ups all. A limit, since no other process can write
-- meanwhile.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    queue_sequence = %(position)s
WHERE workflow_id IN (
    SELECT waiting.workflow_id
    FROM dbos_workflow AS waiting
    WHERE waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
      AND (%(workflow_ids)s IS NULL
           OR waiting.workflow_id IN (SELECT value FROM json_each(%(workflow_ids)s)))
      -- include: is_satisfied
    LIMIT %(limit)s
)
RETURNING
    -- include: lane
