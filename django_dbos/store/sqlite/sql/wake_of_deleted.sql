-- Enqueue workflows that wait for an event or the result of others, which are gone: they learn of that
-- by an error. Streams have ended with their workflows, and those that wait for any of several things
-- go on waiting for the others.
UPDATE dbos_workflow
SET status = 'ENQUEUED',
    -- include: forget_wait
    -- include: queue_again
WHERE workflow_id IN (
    -- The sign +: one look-up by the id, not one for each kind.
    SELECT waiting.workflow_id
    FROM json_each(%(workflow_ids)s) AS gone
    CROSS JOIN dbos_workflow AS waiting ON waiting.wake_workflow_id = gone.value
    WHERE +waiting.wake_kind IN ('event', 'result')
      AND waiting.status = 'WAITING'
      AND waiting.wake_workflow_id IS NOT NULL
)
RETURNING
    -- include: lane
